"""Plain text: from bytes to characters, and from wrapped lines to paragraphs."""

from __future__ import annotations

import codecs
import re
import unicodedata

from clara.documents.outline import Reading, UnreadableError
from clara.records import Section

# the longer marks first: the mark of UTF-32-LE begins with that of UTF-16-LE
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, zero-width space, word joiner, mark
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile("[\t\u00a0\u2007\u202f]")
_BLANK_RUN = re.compile(r"\n{3,}")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•‣▪◦–—·]\s|[>|#]|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,4})[.)]\s)")

# lines of this many characters, all but the last, are taken as one paragraph that an editor wrapped
_WRAPPED = range(45, 121)
_MAX_CONTROL_SHARE = 0.02
_MAX_CP1252_HIGH_SHARE = 0.3


def read_text(data: bytes) -> Reading:
    """Read a plain text file as one section without headings.

    Raises:
        UnreadableError: The bytes are not text.
    """
    paragraphs = (unwrap(paragraph) for paragraph in tidy(decode(data)).split("\n\n"))
    return Reading("", (Section("\n\n".join(paragraphs)),))


def decode(data: bytes, declared: str = "") -> str:
    """Decode a file by its byte order mark, else as UTF-8, else as declared, else as Windows-1252.

    Windows-1252 accepts nearly any bytes, so it is used only where the outcome looks like text in the
    Latin alphabet.

    Args:
        data: The file's bytes.
        declared: The name of an encoding that the file itself states, if any.

    Raises:
        UnreadableError: The bytes are not text, or not in an encoding that can be told.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _checked(_decode(data, encoding))
    if b"\0" in data:
        raise UnreadableError("is a binary file, not text; convert it to text, Markdown, HTML or PDF")
    for encoding in ("utf-8", declared):
        if encoding and (text := _decode(data, encoding)) is not None:
            return _checked(text)
    text = _decode(data, "cp1252")
    if text is None or sum(character > "\x7f" for character in text) > _MAX_CP1252_HIGH_SHARE * len(text):
        raise UnreadableError("is not text in UTF-8, UTF-16 or Windows-1252; save it as UTF-8")
    return _checked(text)


def _decode(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):  # LookupError: a declared encoding that Python does not know
        return None


def _checked(text: str | None) -> str:
    if text is None:
        raise UnreadableError("is damaged: its bytes do not follow the encoding that it begins with")
    if len(_CONTROL.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        raise UnreadableError("is a binary file, not text; convert it to text, Markdown, HTML or PDF")
    return text


def tidy(text: str) -> str:
    """Make line ends and spaces uniform and drop characters that cannot be seen.

    Lines end in a line feed and have no space before it, paragraphs are parted by one blank line or a form
    feed, tabs and no-break spaces are spaces; control characters, soft hyphens and zero-width spaces are
    gone. Joiners stay: some scripts spell with them.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x85", "\n")
    text = text.replace("\f", "\n\n").replace("\v", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    text = _CONTROL.sub("", _INVISIBLE.sub("", _SPACE.sub(" ", text)))
    if _SURROGATE.search(text):  # halves of characters, which some PDFs yield, fit in no file and no database
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = "\n".join(map(str.rstrip, text.split("\n")))
    return _BLANK_RUN.sub("\n\n", text).strip()


def squeeze(text: str) -> str:
    """The text on one line, with single spaces."""
    return " ".join(text.split())


def unwrap(paragraph: str) -> str:
    """Join the lines of a paragraph that was wrapped at a fixed width; leave lists, verse and tables."""
    lines = paragraph.split("\n")
    wrapped = all(len(line) in _WRAPPED for line in lines[:-1]) and len(lines[-1]) < _WRAPPED.stop
    if not wrapped or any(map(starts_item, lines)):
        return paragraph
    joined = lines[0]
    for line in lines[1:]:
        joined = join_lines(joined, line.lstrip())
    return joined


def starts_item(line: str) -> bool:
    """Whether a line begins as a list item, a quotation, a heading or a table row does."""
    return _LIST_ITEM.match(line) is not None


def join_lines(first: str, second: str) -> str:
    """Two lines as one: with a space between, unless the script is one that is written without spaces."""
    wide = first and second and is_wide(first[-1]) and is_wide(second[0])
    return first + second if wide else f"{first} {second}"


def is_wide(character: str) -> bool:
    """Whether a character is of a script, such as Chinese, that sets no spaces between words."""
    return unicodedata.east_asian_width(character) in "WF" and not "가" <= character <= "힣"
