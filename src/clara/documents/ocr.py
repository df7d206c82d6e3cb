"""Text recognition in pictures, by Tesseract where it is installed: `pip install 'clara-rag[ocr]'` and its
program."""

from __future__ import annotations

import shutil
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING

from clara.documents.reading import Context, Reading, UnreadableError
from clara.documents.text import tidy
from clara.records import Section

if TYPE_CHECKING:
    from PIL.Image import Image
    from pypdfium2 import PdfPage

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
"""The endings, in lower case, of pictures whose text can be recognised."""

INSTALL = "install Tesseract and: pip install 'clara-rag[ocr]'"

_SCALE = 200 / 72  # of a page, whose points are 72 an inch
_MAX_PIXELS = 50_000_000
_SECONDS = 120  # for a picture


@cache
def is_there() -> bool:
    """Whether text can be recognised: the package and the program are installed."""
    return find_spec("pytesseract") is not None and shutil.which("tesseract") is not None


def page_text(page: PdfPage) -> str:
    """The text of a PDF's page as it is drawn; "" where text recognition is not installed."""
    if not is_there():
        return ""
    width, height = page.get_size()
    scale = min(_SCALE, (_MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
    return _recognised(page.render(scale=scale).to_pil())


def read_picture(data: bytes, context: Context) -> Reading:
    """Read the text in a picture.

    Raises:
        UnreadableError: Text recognition is not installed, or the picture is damaged or too large.
    """
    if not is_there():
        raise UnreadableError(f"is a picture; to have its text recognised, {INSTALL}")
    import PIL.Image

    try:
        picture = PIL.Image.open(BytesIO(data))
        if picture.width * picture.height > _MAX_PIXELS:
            raise UnreadableError("is a picture of too many points; make it smaller")
        picture.load()
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise UnreadableError("is a damaged picture; open it and save it anew") from error
    return Reading("", (Section(_recognised(picture)),))


def _recognised(picture: Image) -> str:
    import pytesseract

    try:
        return tidy(str(pytesseract.image_to_string(picture.convert("RGB"), timeout=_SECONDS)))
    except RuntimeError:  # it took too long
        return ""
