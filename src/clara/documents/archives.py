"""ZIP files from strangers: damaged ones are refused, and so are those that grow beyond measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from xml.etree import ElementTree
from zipfile import ZipFile

from clara.documents.reading import UnreadableError

MAX_UNPACKED_BYTES = 50_000_000
"""Text that an archive may hold when unpacked; images, sound and fonts are never unpacked."""

ENTITIES = "defines XML entities, which no office program writes; open it and save it anew"
"""Why XML that defines names for text, which can grow without bound, is refused."""

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NEVER_UNPACKED = (
    ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bmp", ".tif", ".tiff", ".emf", ".wmf", ".ttf", ".otf",
    ".woff", ".woff2", ".mp3", ".m4a", ".mp4", ".ogg", ".webm", ".wav", ".avi", ".css", ".js", ".bin",
    ".odttf", ".fntdata",
)  # fmt: skip


@contextmanager
def opened(data: bytes, kind: str) -> Iterator[ZipFile]:
    """Open the archive that a file of some `kind`, such as "an EPUB file", is.

    Raises:
        UnreadableError: It is no archive, is damaged or encrypted, lacks a part, or would unpack to more than
            `MAX_UNPACKED_BYTES` of text. What is raised inside for these reasons is turned into this too.
    """
    if data.startswith(_OLE):
        raise UnreadableError(
            f"is no {kind.partition(' ')[2]} but an encrypted or a very old office file; open it and save it "
            "anew, without a password"
        )
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
    return not name.lower().endswith(_NEVER_UNPACKED)


def read_xml(archive: ZipFile, name: str) -> ElementTree.Element:
    """The root of an XML part.

    Raises:
        UnreadableError: It defines names for text, which can grow without bound and no office program writes.
        KeyError: There is no such part.
        ParseError: It is damaged.
    """
    data = archive.read(name)
    if b"<!ENTITY" in data:
        raise UnreadableError(ENTITIES)
    return ElementTree.fromstring(data)
