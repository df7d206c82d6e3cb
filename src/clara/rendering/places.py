"""The place of a passage in its file, in words."""

from __future__ import annotations


def place_of(heading: str, page: int | None, lines: tuple[int, int] | None) -> str:
    """Headings, and the page or the lines; "" where nothing is known."""
    parts = [heading] if heading else []
    if page is not None:
        parts.append(f"page {page}")
    elif lines is not None:
        first, last = lines
        parts.append(f"line {first}" if first == last else f"lines {first}-{last}")
    return " · ".join(parts)
