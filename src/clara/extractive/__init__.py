"""The extractive reader: finds answers as spans of passages whose words it stores. It does not compress."""
