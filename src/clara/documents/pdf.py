"""PDF files, through PDFium: sections by headings and pages, paragraphs of joined lines, tables row by
row."""

from __future__ import annotations

import itertools
import re
import statistics
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clara.documents import ocr
from clara.documents.grids import heads_by_content, table
from clara.documents.lines import Traced, join
from clara.documents.outline import Outline
from clara.documents.pdf_extras import PageExtras, attachments, extras_of
from clara.documents.pdf_glyphs import PageText, page_text
from clara.documents.pdf_headings import Heading, with_headings
from clara.documents.pdf_heads import without_running_heads
from clara.documents.pdf_layout import Line, Table, laid_out
from clara.documents.properties import stated_facts, stated_section, stated_title
from clara.documents.reading import Context, Losses, Reading, UnreadableError, numbers
from clara.documents.text import join_lines, squeeze, starts_item, tidy
from clara.documents.vocabulary import is_known
from clara.records import Metadata

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_BROKEN_WORD = re.compile(r"(\w+)-$")
_FIRST_WORD = re.compile(r"\w+")
_COMPOUND = re.compile(r"\w+(?:-\w+)*")
_SENTENCE_END = re.compile(r"""[.!?:;。！？।؟]["'”’)\]]*$""")
_REST_OF_SENTENCE = re.compile(r"""[^\n|]{0,400}?[.!?]["'”’)\]]*(?=\s|$)""")
_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)")

# a line shorter than this share of the page's usual line ends a paragraph, a heading or a row
_SHORT = 0.7
# a page with fewer written lines than this share is set with wide spacing, and its blank lines mean nothing
_MIN_WRITTEN_SHARE = 0.6
_MAX_UNMAPPED_SHARE = 0.3
_IMAGE = 3
_LEAST_PICTURE = 0.04  # of a page's area
_PDFIUM = threading.Lock()  # the library may be used by one thread at a time
_NO_TEXT = "run text recognition (OCR)"


def read_pdf(data: bytes, context: Context) -> Reading:
    """Read a PDF's text, a section for each page and each heading on it that has any.

    The title is the one in its properties, else the only heading in the largest letters. Columns are read one
    after the other and tables row by row. Lines are joined, words that were hyphenated at a line's end made
    whole, running heads and page numbers left out, and a sentence that runs over a page's end is kept on the
    page where it begins. Values of forms, notes and addresses of links are read too, and attached files after
    the pages.

    Raises:
        UnreadableError: The file is encrypted or damaged, or none of its pages has text that can be read.
    """
    if b"%PDF-" not in data[:1024]:
        raise UnreadableError(
            "is not a PDF file, whatever its name says; give it the ending that fits its content"
        )
    with _PDFIUM:
        document = _opened(data)
        try:
            title, values = _properties(document)
            pages, extras = _pages(document, context.losses)
            attached = list(attachments(document, context.losses))
        finally:
            document.close()
    heads = without_running_heads(pages)
    context.losses.count("running head or page number", heads, plural="running heads and page numbers")
    for page, extra in zip(pages, extras, strict=True):
        page.pieces.extend(extra.values)
    outline, leading = _outline(pages, extras)
    title = title or leading
    sections = outline.sections(title)
    if not sections and not attached:
        raise UnreadableError(f"is a PDF of images without text; {_NO_TEXT} on it first")
    within = [section for name, content in attached for section in context.embedded(name, content)]
    return Reading(title, (*stated_section(values), *sections, *within), values)


def _opened(data: bytes) -> PdfDocument:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        if not len(document):
            raise UnreadableError("is a damaged PDF; open it in a viewer and save it anew")
        if document.get_formtype():
            document.init_forms()
    except pypdfium2.PdfiumError as error:
        match getattr(error, "err_code", None):
            case 4:  # FPDF_ERR_PASSWORD
                raise UnreadableError("is an encrypted PDF; save a copy without a password") from error
            case 5:  # FPDF_ERR_SECURITY
                raise UnreadableError(
                    "is a PDF protected by other means than a password; print it to a new PDF"
                ) from error
        raise UnreadableError("is a damaged PDF; open it in a viewer and save it anew") from error
    return document


def _properties(document: PdfDocument) -> tuple[str, Metadata]:
    found = document.get_metadata_dict(skip_empty=True)
    created = _DATE.match(found.get("CreationDate", ""))
    stated: dict[str, object] = {
        name.lower(): found.get(name, "") for name in ("Author", "Subject", "Keywords")
    }
    values = dict(stated_facts(stated))
    if values and created is not None:
        values["created"] = "-".join(created.groups())
    return stated_title(found.get("Title", "")), values


def _pages(document: PdfDocument, losses: Losses) -> tuple[list[PageText], list[PageExtras]]:
    """The text of each page and what it holds besides; pages of which nothing can be read are told of."""
    import pypdfium2

    texts, extras = [], []
    empty: list[int] = []
    unmapped: list[int] = []
    damaged: list[int] = []
    pictures = 0
    for number in range(1, len(document) + 1):
        text, extra = PageText([], 0.0, 0, 0), PageExtras()
        try:
            page = document[number - 1]
            extra = extras_of(page, document)
            text = page_text(page, extra.links)
            is_unmapped = text.unmapped > _MAX_UNMAPPED_SHARE * max(text.characters, 1)
            if not text.characters or is_unmapped:
                recognised = ocr.page_text(page) if _is_drawn(page) or is_unmapped else ""
                if recognised:
                    extra.lines.insert(0, recognised)
                elif is_unmapped:
                    unmapped.append(number)
                elif _is_drawn(page):
                    empty.append(number)
                text = PageText([], text.height, 0, 0)
            else:
                pictures += _pictures(page)
            page.close()
        except pypdfium2.PdfiumError:
            damaged.append(number)
        texts.append(text)
        extras.append(extra)
    _tell(losses, empty, "without text", f"pictures or scans: {_NO_TEXT}")
    _tell(
        losses, unmapped, "without readable text", f"the fonts do not say which letters they draw: {_NO_TEXT}"
    )
    _tell(losses, damaged, "left out", "damaged")
    losses.count("picture", pictures)
    if unmapped and not any(text.pieces for text in texts) and not any(extra.lines for extra in extras):
        raise UnreadableError(
            f"is a PDF whose fonts do not say which letters they draw; {_NO_TEXT} on it first"
        )
    return texts, extras


def _tell(losses: Losses, pages: list[int], what: str, why: str) -> None:
    if pages:
        noun = "page" if len(pages) == 1 else "pages"
        losses.say(f"{len(pages):,} {noun} {what}: {noun} {numbers(pages)} ({why})")


def _is_drawn(page: PdfPage) -> bool:
    import pypdfium2.raw as pdfium

    return bool(pdfium.FPDFPage_CountObjects(page.raw))


def _pictures(page: PdfPage) -> int:
    """How many pictures of some size are on a page."""
    area = page.get_width() * page.get_height()
    count = 0
    for one in page.get_objects(filter=[_IMAGE], max_depth=2):
        left, bottom, right, top = one.get_bounds()
        count += (right - left) * (top - bottom) > _LEAST_PICTURE * area
    return count


def _outline(pages: Sequence[PageText], extras: Sequence[PageExtras]) -> tuple[Outline, str]:
    """What the pages hold, and a heading that can only be the title."""
    words = {
        word for page in pages for piece in page.pieces for word in _COMPOUND.findall(piece.text.lower())
    }
    parts = with_headings([laid_out(page.pieces, page.grids) for page in pages])
    continued: Table | None = None
    blocks = []
    for part in parts:
        blocks.append(_blocks(part, words, continued))
        continued = part[-1] if part and isinstance(part[-1], Table) else None
    _make_sentences_whole(blocks, words)
    outline = Outline()
    for number, (found, extra) in enumerate(zip(blocks, extras, strict=True), 1):
        outline.page = number
        for block in found:
            if isinstance(block, Heading):
                outline.heading(block.level, block.text)
            else:
                outline.block(block)
        outline.block(join("\n", [Traced(tidy(line)).whole() for line in extra.lines]))
    return outline, _leading(blocks)


def _leading(pages: Sequence[Sequence[Traced | Heading]]) -> str:
    """The only heading in the largest letters if it comes first, on the first page."""
    headings = [block for page in pages for block in page if isinstance(block, Heading)]
    is_only = sum(heading.level == 1 for heading in headings) == 1
    is_first = bool(headings) and headings[0].level == 1 and headings[0] in pages[0]
    is_above = len(headings) > 1 or pages[0][:1] == headings
    return headings[0].text if is_first and is_only and is_above else ""


def _blocks(
    parts: Sequence[Line | Table | Heading], words: set[str], continued: Table | None
) -> list[Traced | Heading]:
    """A page's headings, running text and tables, in their order.

    Args:
        parts: What is on the page.
        words: All words of the document.
        continued: The table that the page before ends with.
    """
    blocks: list[Traced | Heading] = []
    lines: list[str] = []
    lengths = [len(one.text) for one in parts if isinstance(one, Line)]
    usual = statistics.quantiles(lengths, n=5)[-1] if len(lengths) > 1 else 0.0
    for at, one in enumerate([*parts, None]):
        if isinstance(one, Line):
            lines += ["", one.text] if one.is_apart else [one.text]
            continue
        if lines:
            blocks.append(Traced(tidy(_reflow(tidy("\n".join(lines)).split("\n"), words, usual))))
            lines = []
        if isinstance(one, Heading):
            blocks.append(Heading(one.level, squeeze(tidy(one.text))))
        elif one is not None:
            grid = [[Traced(tidy(cell)) for cell in row] for row in one.rows]
            if at == 0 and continued is not None and one.goes_on_from(continued):
                one.heads = continued.heads
                grid = [*([Traced(tidy(cell)) for cell in row] for row in one.heads), *grid]
            blocks.append(table(grid, len(one.heads) or heads_by_content(grid)))
    return blocks


def _reflow(lines: Sequence[str], words: set[str], usual: float) -> str:
    """Lines as paragraphs (parted by a blank line) and single lines such as headings and rows.

    Args:
        lines: Of the page, from the top.
        words: All words of the document.
        usual: How many characters the page's longer lines have.
    """
    lengths = [len(line) for line in lines if line.strip()]
    if len(lengths) < _MIN_WRITTEN_SHARE * len(lines):
        lines = [line for line in lines if line.strip()]
    pieces: list[str] = []
    last = ""  # the line before, as it stood on the page
    for line in map(str.strip, lines):
        if not line:
            last = ""
        elif not last:
            pieces += ["\n\n", line] if pieces else [line]
            last = line
        else:
            between = _between(last, line, usual)
            if between:
                pieces += [between, line]
            else:
                pieces[-1] = _join(pieces[-1], line, words)
            last = line
    return "".join(pieces)


def _between(first: str, second: str, usual: float) -> str:
    """What parts two lines of a page: a blank line, a line end, or nothing where the text runs on."""
    if starts_item(second):
        return "\n"
    if len(first) >= _SHORT * usual or _BROKEN_WORD.search(first):
        return ""
    if _SENTENCE_END.search(first):
        return "\n\n"
    return "" if second[0].islower() else "\n"


def _join(first: str, second: str, words: set[str]) -> str:
    """Join two lines, and the halves of a word that was hyphenated between them."""
    broken, following = _BROKEN_WORD.search(first), _FIRST_WORD.match(second)
    if broken is None or following is None:
        return join_lines(first, second)
    first_half, second_half = broken[1], following[0]
    joined = f"{first_half}{second_half}".lower()
    is_compound = f"{first_half}-{second_half}".lower() in words
    is_word = joined in words or is_known(joined)
    are_words = is_known(first_half) and is_known(second_half)  # as in "self-drawn"
    if second[0].islower() and not is_compound and (is_word or not are_words):
        return first[:-1] + second
    return first + second  # a hyphen of the word's own, as in "Anglo-Saxon"


def _make_sentences_whole(pages: list[list[Traced | Heading]], words: set[str]) -> None:
    """Move the end of a sentence that runs over onto the page where the sentence begins."""
    for before, after in itertools.pairwise(pages):
        if not before or not after:
            continue
        last, following = before[-1], after[0]
        if isinstance(last, Heading) or isinstance(following, Heading) or last.units or following.units:
            continue
        first, second = last.text, following.text
        if second[:1].islower() and not _SENTENCE_END.search(first):
            rest = _REST_OF_SENTENCE.match(second)
            if rest is not None:
                before[-1] = Traced(_join(first, rest[0], words))
                after[0] = Traced(second[rest.end() :].lstrip())
