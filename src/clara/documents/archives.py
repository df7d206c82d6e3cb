"""ZIP files from strangers: damaged ones are refused, and so are those that grow beyond measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from zipfile import ZipFile

from clara.documents.outline import UnreadableError

MAX_UNPACKED_BYTES = 50_000_000
"""Text that an archive may hold when unpacked; images, sound and fonts are never unpacked."""

_TEXT_ENDINGS = (".xml", ".rels", ".opf", ".ncx", ".html", ".htm", ".xhtml")


@contextmanager
def opened(data: bytes, kind: str) -> Iterator[ZipFile]:
    """Open the archive that a file of some `kind`, such as "an EPUB file", is.

    Raises:
        UnreadableError: It is no archive, is damaged or encrypted, lacks a part, or would unpack to more than
            `MAX_UNPACKED_BYTES` of text. What is raised inside for these reasons is turned into this too.
    """
    try:
        with ZipFile(BytesIO(data)) as archive:
            # the sizes that an archive states are true: zipfile reads no further, and checks the sum
            size = sum(each.file_size for each in archive.infolist() if is_text(each.filename))
            if size > MAX_UNPACKED_BYTES:
                raise UnreadableError(
                    f"would unpack to {size // 1_000_000:,} MB of text, and "
                    f"{MAX_UNPACKED_BYTES // 1_000_000} MB is the most that is read; split it"
                )
            yield archive
    except UnreadableError:
        raise
    except Exception as error:  # on damaged files zipfile raises nearly anything, from KeyError to ValueError
        if type(error) is RuntimeError:  # zipfile's word for a part that needs a password
            raise UnreadableError(f"is encrypted or not {kind}; save a copy without a password") from error
        raise UnreadableError(f"is not {kind} or a damaged one; open it and save it anew") from error


def is_text(name: str) -> bool:
    """Whether a part of an archive is one that a reader may unpack."""
    return name.lower().endswith(_TEXT_ENDINGS) or "." not in name.rpartition("/")[2]
