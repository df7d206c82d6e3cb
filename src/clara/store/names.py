"""How the names of files are written in a store."""

from __future__ import annotations


def as_stored(name: str) -> str:
    r"""A name as valid Unicode, as `Document.source` has it.

    Python holds the bytes of a file's name that are not UTF-8 as lone surrogates, which SQLite does not take;
    they become escapes such as \udcff.
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
