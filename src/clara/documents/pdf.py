"""PDF files, through pypdf: one section a page, lines joined to paragraphs."""

from __future__ import annotations

import logging
import re
import statistics
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain, takewhile
from typing import TYPE_CHECKING

from clara.documents.outline import Reading, UnreadableError
from clara.documents.text import join_lines, squeeze, starts_item, tidy
from clara.records import Section

if TYPE_CHECKING:
    from pypdf import PdfReader

# the soft hyphen is not invisible here: a PDF holds one only where it draws a hyphen
_GLYPHS = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00ad": "-"}
)
_BROKEN_WORD = re.compile(r"(\w+)-$")
_FIRST_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"""[.!?:;。！？।؟]["'”’)\]]*$""")
_REST_OF_SENTENCE = re.compile(r"""[^\n]{0,400}?[.!?]["'”’)\]]*(?=\s|$)""")
_FILE_NAME = re.compile(
    r"untitled|microsoft word - |.*\.(?:docx?|pdf|tex|dvi|indd|odt|rtf|pptx?|xlsx?)$", re.IGNORECASE
)

# a line shorter than this share of the page's usual line ends a paragraph, a heading or a row
_SHORT = 0.7
# a line at a page's edge is a running head where it stands on this share of the pages, and on this many
_RUNNING_SHARE = 0.5
_RUNNING_PAGES = 3
_EDGE_LINES = 2
# a page with fewer written lines than this share is set with wide spacing, and its blank lines mean nothing
_MIN_WRITTEN_SHARE = 0.6


def read_pdf(data: bytes) -> Reading:
    """Read a PDF's text, a section for each page that has any; the title is the one in its properties.

    Lines are joined, words that were hyphenated at a line's end made whole, running heads and page
    numbers left out, and a sentence that runs over a page's end is kept on the page where it begins.

    Raises:
        UnreadableError: The file is encrypted or damaged, or its pages are images.
    """
    if b"%PDF-" not in data[:1024]:
        raise UnreadableError(
            "is not a PDF file, whatever its name says; give it the ending that fits its content"
        )
    title, raw = _extract(data)
    if not any(map(str.strip, raw)):
        raise UnreadableError("is a PDF of images without text; run text recognition (OCR) on it first")
    pages = _without_running_heads([tidy(page.translate(_GLYPHS)).split("\n") for page in raw])
    words = {word for page in pages for line in page for word in re.findall(r"\w+(?:-\w+)*", line.lower())}
    texts = _whole_sentences([_reflow(page, words) for page in pages], words)
    sections = (Section(text, page=number) for number, text in enumerate(texts, 1) if text)
    return Reading(title, tuple(sections))


def _extract(data: bytes) -> tuple[str, list[str]]:
    """The title in the file's properties, and each page's text as pypdf gives it."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        with _silence():
            reader = PdfReader(BytesIO(data), strict=False)
            if reader.is_encrypted and not reader.decrypt(""):
                raise FileNotDecryptedError
            return _title(reader), [page.extract_text() for page in reader.pages]
    except (FileNotDecryptedError, DependencyError) as error:
        raise UnreadableError("is an encrypted PDF; save a copy without a password") from error
    except (
        Exception
    ) as error:  # on damaged files pypdf raises nearly anything, from KeyError to RecursionError
        raise UnreadableError("is a damaged PDF; open it in a viewer and save it anew") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep pypdf's remarks on imperfect files, of which there are many, from the terminal."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _title(reader: PdfReader) -> str:
    title = reader.metadata.title if reader.metadata is not None else None
    title = squeeze(title) if isinstance(title, str) else ""
    return "" if _FILE_NAME.match(title) else title


def _without_running_heads(pages: list[list[str]]) -> list[list[str]]:
    """Drop what stands at the top or bottom of most pages, the numbers in it aside."""
    long = [page for page in pages if len(page) > 2 * _EDGE_LINES]
    counts = Counter(key for page in long for key in {_pattern(page[at]) for at in chain(*_both_edges(page))})
    least = max(_RUNNING_PAGES, _RUNNING_SHARE * len(long))
    running = {key for key, count in counts.items() if count >= least}

    def cleaned(page: list[str]) -> list[str]:
        if len(page) <= 2 * _EDGE_LINES:
            return page
        top, bottom = (
            len(list(takewhile(lambda at: _pattern(page[at]) in running, edge))) for edge in _both_edges(page)
        )
        return page[top : len(page) - bottom]

    return [cleaned(page) for page in pages]


def _both_edges(page: Sequence[str]) -> tuple[range, range]:
    """Indices of the first lines of a page, and of its last, from the edge inwards."""
    return range(_EDGE_LINES), range(len(page) - 1, len(page) - 1 - _EDGE_LINES, -1)


def _pattern(line: str) -> str:
    return re.sub(r"\d+", "#", squeeze(line))


def _reflow(lines: Sequence[str], words: set[str]) -> str:
    """A page's lines as paragraphs (parted by a blank line) and single lines such as headings and rows."""
    lengths = [len(line) for line in lines if line.strip()]
    usual = statistics.quantiles(lengths, n=5)[-1] if len(lengths) > 1 else 0.0
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
    compound = f"{broken[1]}-{following[0]}".lower()
    if second[0].islower() and compound not in words:
        return first[:-1] + second
    return first + second  # a hyphen of the word's own, as in "Anglo-Saxon"


def _whole_sentences(texts: list[str], words: set[str]) -> list[str]:
    """Move the end of a sentence that runs over onto the page where the sentence begins."""
    texts = list(texts)
    for at in range(1, len(texts)):
        before, after = texts[at - 1], texts[at]
        if before and after[:1].islower() and not _SENTENCE_END.search(before):
            rest = _REST_OF_SENTENCE.match(after)
            if rest is not None:
                texts[at - 1] = _join(before, rest[0], words)
                texts[at] = after[rest.end() :].lstrip()
    return texts
