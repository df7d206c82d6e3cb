"""Records of question answering data: every public format, and JSON lines."""
