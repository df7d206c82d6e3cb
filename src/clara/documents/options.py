"""What a caller may choose about reading."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Which fields of records (rows of CSV, objects of JSON) are read as what; other formats have no options.

    Fields are named as in the file; those within objects by their path, as in "author.name".

    Attributes:
        text_fields: The fields whose values are the text, in this order; None for all strings and numbers.
        title_field: The field that heads a record; None for the first of "title", "name", "subject" and
            "heading" that a record has.
        metadata_fields: The fields kept as facts to filter on; None for all numbers, truth values and short
            strings.
    """

    text_fields: tuple[str, ...] | None = None
    title_field: str | None = None
    metadata_fields: tuple[str, ...] | None = None
