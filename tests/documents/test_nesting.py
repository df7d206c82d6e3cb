"""Text that is nested deeper than a reader goes is counted among what was left out."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from clara.documents.show import show

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ODF = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
)


def packed(files: dict[str, str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def tables(depth: int) -> bytes:
    """A DOCX with tables within tables."""
    inner = "<w:p><w:r><w:t>innermost</w:t></w:r></w:p>"
    for _ in range(depth):
        inner = f"<w:tbl><w:tr><w:tc>{inner}<w:p/></w:tc></w:tr></w:tbl>"
    body = f"<w:p><w:r><w:t>outside</w:t></w:r></w:p>{inner}"
    return packed(
        {
            "[Content_Types].xml": "<Types/>",
            "word/document.xml": f"<w:document {W}><w:body>{body}</w:body></w:document>",
        }
    )


def lists(depth: int) -> bytes:
    """An ODT with lists within lists."""
    inner = "<text:p>innermost</text:p>"
    for _ in range(depth):
        inner = f"<text:list><text:list-item>{inner}</text:list-item></text:list>"
    content = f"<office:body><office:text><text:p>outside</text:p>{inner}</office:text></office:body>"
    return packed(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f"<office:document-content {ODF}>{content}</office:document-content>",
        }
    )


@pytest.mark.parametrize(("ending", "make"), [(".docx", tables), (".odt", lists)])
@pytest.mark.parametrize("depth", [3, 200])
def test_what_is_nested_too_deep_is_counted(tmp_path: Path, ending: str, make: object, depth: int) -> None:
    path = tmp_path / f"deep{ending}"
    path.write_bytes(make(depth))  # type: ignore[operator]
    (shown,) = show(path)
    text = " ".join(passage.text for passage in shown.passages)
    assert "outside" in text
    lost = " ".join(shown.left_out)
    assert ("innermost" in text) != ("nested too deep" in lost)
    assert ("innermost" in text) == (depth == 3)
