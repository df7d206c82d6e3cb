"""The text of a PDF's page with its places, as PDFium gives it character by character."""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clara.documents.inline import address_after
from clara.documents.pdf_rules import Rule, RuledGrid, grids, rules_of
from clara.documents.raised import lowered, raised

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

# the soft hyphen is not invisible here: a PDF holds one only where it draws a hyphen
_GLYPHS = str.maketrans({
    "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00ad": "-",
    "\ufffe": "-", "\x02": "-", "\xa0": " ", "\t": " ",
})  # fmt: skip
_SMALL = 0.82  # of the size before: what is raised or lowered is set smaller
_RAISED, _LOWERED = 0.12, -0.05  # of the size, from the line; a lowered character hardly moves in some fonts
_WORD_GAP, _PIECE_GAP = 0.16, 1.0  # of the size: what parts words, and what parts pieces of a line
_LETTER_GAP = 0.08  # of the size: letters of a word are nearer to each other
_MAX_LINKS = 1000  # on a page


@dataclass(slots=True)
class Piece:
    """Text that stands in one line without a wide gap.

    Attributes:
        text: Its characters.
        left: Where it begins, in points from the page's left.
        right: Where it ends.
        line: The height of its line, in points from the page's bottom.
        size: The height of its characters.
        em: The size of its font, as it is drawn; 0 if unknown.
        grid: The table that it stands for; None for text.
    """

    text: str
    left: float
    right: float
    line: float
    size: float
    em: float = 0.0
    grid: RuledGrid | None = None


@dataclass(frozen=True, slots=True)
class PageText:
    """What stands on a page.

    Attributes:
        pieces: In the order in which they are drawn.
        height: Of the page, in points.
        characters: How many there are, blanks aside.
        unmapped: Those of which the font does not say which letters they are.
        grids: The tables whose cells are drawn with lines.
    """

    pieces: list[Piece]
    height: float
    characters: int
    unmapped: int
    grids: Sequence[RuledGrid] = ()


@dataclass(slots=True)
class _Glyph:
    text: str
    left: float
    right: float
    line: float
    size: float
    em: float
    after: str = ""


def page_text(page: PdfPage, links: Mapping[tuple[float, float, float, float], str]) -> PageText:
    """The pieces of a page's text.

    Args:
        page: The page.
        links: Addresses by the rectangles (left, bottom, right, top) that lead to them.
    """
    glyphs, turn, characters, unmapped = _glyphs(page)
    _add_addresses(glyphs, links)
    across, down = rules_of(page, turn)
    pieces = list(_pieces(glyphs, down))
    return PageText(pieces, page.get_height(), characters, unmapped, grids(across, down))


def _glyphs(page: PdfPage) -> tuple[list[_Glyph], int, int, int]:
    import pypdfium2.raw as pdfium

    text_page = page.get_textpage()
    handle = text_page.raw
    box = pdfium.FS_RECTF()
    x, y = ctypes.c_double(), ctypes.c_double()
    glyphs: list[_Glyph] = []
    characters = unmapped = 0
    count = text_page.count_chars()
    turn = _turn(handle, count)
    high = ""  # the first half of a character beyond the first plane
    em = 0.0
    matrix = pdfium.FS_MATRIX()
    for at in range(count):
        character = chr(pdfium.FPDFText_GetUnicode(handle, at))
        if "\ud800" <= character <= "\udbff":
            high = character
            continue
        if high:
            character, high = (
                (high + character).encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
                "",
            )
        if character in "\r\n\0":
            continue
        is_made = pdfium.FPDFText_IsGenerated(handle, at) == 1
        if not is_made and not character.isspace():
            characters += 1
            unmapped += _is_unmapped(handle, at, character)
        pdfium.FPDFText_GetLooseCharBox(handle, at, box)
        pdfium.FPDFText_GetCharOrigin(handle, at, x, y)
        left, right, line, size = _placed(turn, box, x.value, y.value)
        if is_made and glyphs:
            # its box says nothing: what was made goes behind what was drawn
            left, right, line, size = glyphs[-1].right, glyphs[-1].right, glyphs[-1].line, glyphs[-1].size
        elif not glyphs or (line, size) != (glyphs[-1].line, glyphs[-1].size):
            pdfium.FPDFText_GetMatrix(handle, at, matrix)
            em = pdfium.FPDFText_GetFontSize(handle, at) * math.hypot(matrix.c, matrix.d)
        glyphs.append(_Glyph(character.translate(_GLYPHS), left, right, line, size, em))
    text_page.close()
    return glyphs, turn, characters, unmapped


def _is_unmapped(handle: object, at: int, character: str) -> bool:
    import pypdfium2.raw as pdfium

    is_private = "\ue000" <= character <= "\uf8ff" or character < " " or character == "\ufffd"
    return is_private or bool(pdfium.FPDFText_HasUnicodeMapError(handle, at) == 1)


def _turn(handle: object, count: int) -> int:
    """How far most text is turned to the left, in quarters; PDFium measures angles to the right."""
    import pypdfium2.raw as pdfium

    step = max(1, count // 64)
    turns = [
        round(-pdfium.FPDFText_GetCharAngle(handle, at) / (math.pi / 2)) % 4 for at in range(0, count, step)
    ]
    return max(set(turns), key=turns.count) if turns else 0


def _placed(turn: int, box: object, x: float, y: float) -> tuple[float, float, float, float]:
    """Left, right, line and size of a character where the page is turned so that its text is upright."""
    left, right = float(box.left), float(box.right)  # type: ignore[attr-defined]
    bottom, top = float(box.bottom), float(box.top)  # type: ignore[attr-defined]
    match turn:
        case 1:
            return bottom, top, -x, right - left
        case 2:
            return -right, -left, -y, top - bottom
        case 3:
            return -top, -bottom, x, right - left
        case _:
            return left, right, y, top - bottom


def _add_addresses(glyphs: list[_Glyph], links: Mapping[tuple[float, float, float, float], str]) -> None:
    """Write the address of each link behind its last character."""
    for (left, bottom, right, top), address in list(links.items())[:_MAX_LINKS]:
        inside = [
            one
            for one in glyphs
            if left - 1 <= (one.left + one.right) / 2 <= right + 1 and bottom - 1 <= one.line <= top + 1
        ]
        if inside:
            said = "".join(one.text for one in inside)
            inside[-1].after += address_after(said, address)


@dataclass(slots=True)
class _Run:
    """Characters of one size that follow each other on one line."""

    glyph: _Glyph
    texts: list[str] = field(default_factory=list)
    right: float = -math.inf  # places are below 0 on turned pages
    raised: str = ""  # what is raised or lowered behind it, until that ends
    lift: float = 0.0

    def piece(self) -> Piece:
        self.close_raised()
        one = self.glyph
        return Piece("".join(self.texts), one.left, self.right, one.line, one.size, one.em)

    def close_raised(self) -> None:
        if self.raised:
            before = "".join(self.texts[-20:])
            write = raised if self.lift > 0 else lowered
            self.texts.append(write(before, self.raised))
            self.raised = ""


def _pieces(glyphs: list[_Glyph], walls: Sequence[Rule]) -> Iterator[Piece]:
    places = [x for x, *_ in walls]
    run: _Run | None = None
    for one in glyphs:
        if run is not None and one.text == " ":
            if run.raised:
                run.close_raised()
            if run.texts and run.texts[-1] != " ":
                run.texts.append(" ")
            if one.after:
                run.texts.append(one.after)
            continue
        if run is None or not _continues(run, one) or _is_walled(run, one, walls, places):
            if run is not None:
                yield run.piece()
            run = _Run(one)
        elif _is_new_word(run, one):
            run.texts.append(" ")
        if _is_apart(run.glyph, one) and run.texts:
            run.lift = one.line - run.glyph.line
            run.raised += one.text
        else:
            run.close_raised()
            run.texts.append(one.text)
        if one.after:
            run.close_raised()
            run.texts.append(one.after)
        run.right = max(run.right, one.right)
    if run is not None:
        yield run.piece()


def _is_walled(run: _Run, one: _Glyph, walls: Sequence[Rule], places: Sequence[float]) -> bool:
    """Whether a line down the page stands between a run and what comes after it."""
    if one.left - run.right < _LETTER_GAP * one.size:  # a word that is longer than its cell
        return False
    first, last = bisect_left(places, run.right - 1), bisect_right(places, one.left + 1)
    return any(bottom <= one.line + one.size / 4 <= top for _, bottom, top in walls[first:last])


def _is_new_word(run: _Run, one: _Glyph) -> bool:
    """Whether a gap without a blank parts a character from the run that it goes on."""
    if run.raised or _is_apart(run.glyph, one) or not run.texts or run.texts[-1] == " ":
        return False
    return one.left - run.right > _WORD_GAP * one.size


def _is_apart(base: _Glyph, one: _Glyph) -> bool:
    """Whether a character is raised or lowered behind others."""
    lift = (one.line - base.line) / base.size if base.size else 0.0
    return one.size < _SMALL * base.size and (_RAISED < lift < 1.0 or -0.5 < lift < _LOWERED)


def _continues(run: _Run, one: _Glyph) -> bool:
    base = run.glyph
    gap = one.left - run.right
    size = max(base.size, one.size)
    if not -0.4 * size <= gap <= _PIECE_GAP * size:
        return False
    return abs(one.line - base.line) <= 0.1 * size or (_is_apart(base, one) and gap < 0.5 * size)
