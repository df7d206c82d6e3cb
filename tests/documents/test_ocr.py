"""Text in pictures and scanned pages, where Tesseract and its package are installed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from clara.documents import ocr
from clara.documents.show import show

SENTENCE = "The boiler was replaced on 14 March 2019."


def picture(text: str) -> bytes:
    """A page with one line of text, as PNG."""
    images = pytest.importorskip("PIL.Image")
    draw = pytest.importorskip("PIL.ImageDraw")
    fonts = pytest.importorskip("PIL.ImageFont")
    image = images.new("RGB", (1400, 200), "white")
    draw.Draw(image).text((40, 70), text, fill="black", font=fonts.load_default(size=48))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def recognition() -> None:
    if not ocr.is_there():
        pytest.skip("Tesseract or pytesseract is not installed")


@pytest.mark.usefixtures("recognition")
def test_a_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_bytes(picture(SENTENCE))
    (shown,) = show(path)
    assert SENTENCE in " ".join(passage.text for passage in shown.passages)


@pytest.mark.usefixtures("recognition")
def test_a_scanned_page_is_read(tmp_path: Path) -> None:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    reader = pytest.importorskip("reportlab.lib.utils").ImageReader
    path = tmp_path / "scan.pdf"
    page = canvas.Canvas(str(path), pagesize=(700, 100))
    page.drawImage(reader(io.BytesIO(picture(SENTENCE))), 0, 0, 700, 100)
    page.save()
    (shown,) = show(path)
    assert SENTENCE in " ".join(passage.text for passage in shown.passages)
    assert shown.passages[0].page == 1
