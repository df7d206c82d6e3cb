"""Plain text: from characters to uniform lines, and from wrapped lines to paragraphs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from clara.documents.charsets import decode
from clara.documents.lines import Traced, concatenate, join
from clara.documents.reading import Context, Reading

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, zero-width space, word joiner, mark
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile("[\t\u00a0\u2007\u202f]")
# what breaks lines and paragraphs within a line of a file, as editors count them
_LINE_BREAK = re.compile("[\v\x85\u2028]")
_PARAGRAPH_BREAK = re.compile("[\f\u2029]")
_SOFT_BREAK = re.compile(r"(?<=\w)\u00ad(?=[ \t]*[\r\n])")  # where it is a hyphen that can be seen
_BROKEN_WORD = re.compile(r"([-\u2010]?)(\w+)([-\u2010])$")
_HYPHENS = ("-", "\u2010")
_FIRST_WORD = re.compile(r"\w+")
_COMPOUND = re.compile(r"\w+(?:[-\u2010]\w+)*")
_BLANK_RUN = re.compile(r"\n{3,}")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•‣▪◦–—·]\s|[>|#]|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]\s)")

# lines of this many characters, all but the last, are taken as one paragraph that an editor wrapped
_WRAPPED = range(45, 121)
_LONGEST_WORD = 80  # characters that a broken word is looked for in

Line = tuple[int, str]
"""A line of a file: its number from 1, and its text."""


def read_text(data: bytes, context: Context) -> Reading:
    """Read a plain text file as one section without headings; words broken at a line's end are made whole.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = numbered_lines(_SOFT_BREAK.sub("\u2010", decode(data, losses=context.losses)))
    words = _words_of(lines)
    return Reading("", (join("\n\n", [unwrap(each, words) for each in paragraphs_of(lines)]).section(),))


def tidy(text: str) -> str:
    """Make line ends and spaces uniform and drop characters that cannot be seen.

    Lines end in a line feed and have no space before it, paragraphs are parted by one blank line or a form
    feed, tabs and no-break spaces are spaces; control characters, soft hyphens and zero-width spaces are
    gone. Joiners stay: some scripts spell with them.
    """
    text = _LINE_BREAK.sub("\n", _PARAGRAPH_BREAK.sub("\n\n", _uniform(text)))
    text = "\n".join(map(str.rstrip, text.split("\n")))
    return _BLANK_RUN.sub("\n\n", text).strip()


def numbered_lines(text: str) -> list[Line]:
    """The lines of `tidy(text)`, each with the number of the file's line that it stands on.

    Marks that break a line within a line of the file, such as form feeds, make several lines of one number.
    """
    lines: list[Line] = []
    has_breaks = _LINE_BREAK.search(text) is not None or _PARAGRAPH_BREAK.search(text) is not None
    for number, line in enumerate(_uniform(text).split("\n"), 1):
        for part in _broken(line) if has_breaks else (line,):
            kept = part.rstrip()
            if kept or (lines and lines[-1][1]):
                lines.append((number, kept if lines else kept.lstrip()))
    if lines and not lines[-1][1]:
        lines.pop()
    return lines


def paragraphs_of(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """The lines between blank ones."""
    return (list(group) for written, group in groupby(lines, lambda line: bool(line[1])) if written)


def _uniform(text: str) -> str:
    """The text with line feeds and spaces alone, less what cannot be seen."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CONTROL.sub("", _INVISIBLE.sub("", _SPACE.sub(" ", text)))
    if _SURROGATE.search(text):  # halves of characters, which some PDFs yield, fit in no file and no database
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _broken(line: str) -> list[str]:
    return _LINE_BREAK.sub("\n", _PARAGRAPH_BREAK.sub("\n\n", line)).split("\n")


def tidy_piece(text: str) -> str:
    """A piece of a line with uniform spaces, less what cannot be seen; spaces at its ends stay."""
    return _PARAGRAPH_BREAK.sub(" ", _LINE_BREAK.sub(" ", _uniform(text)))


def squeeze(text: str) -> str:
    """The text on one line, with single spaces."""
    return " ".join(text.split())


def unwrap(paragraph: Sequence[Line], words: Collection[str] = ()) -> Traced:
    """Join the lines of a paragraph that was wrapped at a fixed width; leave lists, verse and tables.

    Words that are broken at a line's end are made whole in any of these.

    Args:
        paragraph: Its lines.
        words: The words of the file in lower case, compounds too, which tell whose hyphens are their own.
    """
    texts = [text for _, text in paragraph]
    wrapped = all(len(text) in _WRAPPED for text in texts[:-1]) and len(texts[-1]) < _WRAPPED.stop
    wrapped = wrapped and not any(map(starts_item, texts))
    first, *others = (Traced.of(text, (number, number)) for number, text in paragraph)
    joined = [first]
    for before, part in zip(texts, others, strict=False):
        text = part.text.lstrip()
        mark = _mark_within(before, text, words)
        if mark is not None:
            joined[-1] = Traced(joined[-1].text[:-1] + mark, joined[-1].spans)
            joined.append(Traced(text, part.spans))
        elif wrapped:
            joined += [Traced(_space_between(before, text)), Traced(text, part.spans)]
        else:
            joined += [Traced("\n"), part]
    return concatenate(joined)


def _words_of(lines: Sequence[Line]) -> Collection[str]:
    """The words of a file that has words broken at its lines' ends, in lower case."""
    if not any(text.endswith(_HYPHENS) for _, text in lines):
        return ()
    return {word.lower().replace("\u2010", "-") for _, text in lines for word in _COMPOUND.findall(text)}


def _mark_within(first: str, second: str, words: Collection[str]) -> str | None:
    """What stands between the halves of a word that is broken between two lines; None if none is.

    A hyphen of the keyboard may stand at a line's end for other reasons, as in "pre- and postfix", so it is
    taken for a break only where the file has the whole word elsewhere. The other hyphen comes from
    programs that set text.
    """
    if not first.endswith(_HYPHENS) or starts_item(second):
        return None
    broken, following = _BROKEN_WORD.search(first[-_LONGEST_WORD:]), _FIRST_WORD.match(second)
    if broken is None or following is None:
        return None
    before, half, mark = broken.groups()
    rest = following[0]
    is_set = mark == "\u2010"
    if f"{half}-{rest}".lower() in words:
        return str(mark)
    # but for compounds such as "state-of-the-art" and names such as "Anglo-Saxon"
    if not before and rest[0].islower() and (is_set or f"{half}{rest}".lower() in words):
        return ""
    return str(mark) if is_set else None


def starts_item(line: str) -> bool:
    """Whether a line begins as a list item, a quotation, a heading or a table row does."""
    return _LIST_ITEM.match(line) is not None


def join_lines(first: str, second: str) -> str:
    """Two lines as one: with a space between, unless the script is one that is written without spaces."""
    return f"{first}{_space_between(first, second)}{second}"


def _space_between(first: str, second: str) -> str:
    return "" if first and second and is_wide(first[-1]) and is_wide(second[0]) else " "


def is_wide(character: str) -> bool:
    """Whether a character is of a script, such as Chinese, that sets no spaces between words."""
    return unicodedata.east_asian_width(character) in "WF" and not "가" <= character <= "힣"


def printable(name: str) -> str:
    """A file's name as valid Unicode; bytes that are not UTF-8 become escapes, so names stay distinct."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
