"""Which stored documents have lost their files; what cannot be looked at counts as there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from clara.documents import file_of

AnyPath = str | os.PathLike[str]

_ESCAPED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


def missing_files(
    sources: Iterable[str], below: Sequence[AnyPath] | None = None
) -> tuple[list[str], list[str]]:
    """Names of what is stored whose files do not exist, and of what cannot be looked at.

    Args:
        sources: Names of stored documents; texts that never were in a file are passed over.
        below: Only files that are, or were, at these paths or below them; all if None.
    """
    gone, unseen = [], []
    tops = None if below is None else [os.path.realpath(path) for path in below]
    for source in sources:
        files = files_of(source)
        if not files[0].is_absolute():
            continue
        if tops is not None and not any(file.is_relative_to(top) for file in files for top in tops):
            continue
        try:
            if not any(map(_exists, files)):
                gone.append(source)
        except OSError:
            unseen.append(source)
    return gone, unseen


def is_gone(source: str) -> bool:
    """Whether the file of a stored document is known not to exist."""
    return bool(missing_files([source])[0])


def files_of(source: str) -> list[Path]:
    """Where the file of a document may be, given its source.

    Bytes of its name that are not UTF-8 are written as escapes in the source, and another file's name may
    look like that.
    """
    name = file_of(source)
    original = _ESCAPED_BYTE.sub(lambda match: chr(0xDC00 + int(match[1], 16)), name)
    return [Path(name)] if original == name else [Path(original), Path(name)]


def _exists(file: Path) -> bool:
    """Whether there is a file.

    Raises:
        OSError: It cannot be told, as in a folder that is closed.
    """
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError:  # a character that no file's name has, so it is the name of a text
        return True
    return True
