"""From bytes to characters: by mark, as UTF-8, as the file states in the WHATWG's names, by its letters."""

from __future__ import annotations

import codecs
import re

from clara.documents.reading import Losses, UnreadableError

# the longer marks first: the mark of UTF-32-LE begins with that of UTF-16-LE
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Python's codecs of these names lack characters that all browsers read under them
_WIDER = {"shift_jis": "cp932", "euc-kr": "cp949", "gbk": "gb18030", "big5": "big5hkscs"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours and moves of a terminal, as logs have them
_NULS = re.compile("\0+")
_MAX_CONTROL_SHARE = 0.02
_MAX_CP1252_HIGH_SHARE = 0.3
_MIN_ZERO_SHARE = 0.01  # of the bytes at even or at odd places, in UTF-16 with spaces or digits
_MAX_NUL_RUNS = 0.002  # of the characters; a program has far more
_SAMPLE = 1 << 16
# words in scripts other than Latin: runs of bytes beyond ASCII, or the pairs of Shift-JIS
_FOREIGN = re.compile(rb"[\x80-\xff]{3,}|(?:[\x81-\x9f][\x40-\x7e\x80-\xfc]){2,}")
_LETTERS = re.compile(rb"[A-Za-z]+")
# bytes that are no second half of a character in any encoding of these
_BETWEEN_WORDS = bytes(0x20 if byte < 0x40 else byte for byte in range(0x100))
_HIGH = bytes(range(0x80, 0x100))
# the encodings that browsers know; of equals the first is taken
_LATIN = ("cp1252", "cp1250", "cp1254", "iso8859_2")
_OTHERS = ("cp1251", "koi8_r", "koi8_u", "cp866", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1253",
           "cp1255", "cp1256", "cp874", "iso8859_5", "mac_cyrillic")  # fmt: skip
_SHIFTED_CASE = re.compile("[a-zа-я][A-ZА-Я]")
_MIN_ADVANTAGE = 0.1  # of disorder, for an encoding other than Windows-1252


def decode(data: bytes, declared: str = "", losses: Losses | None = None) -> str:
    """Decode a file by its byte order mark, else as UTF-8, else as declared, else by its letters.

    Bytes that do not fit are replaced one by one, and NUL bytes are dropped; both are told. UTF-16 without a
    mark is known by its zero bytes. A declaration that does not fit is passed over, and so is one of Latin-1
    where the words are of another script: editors write it unasked.

    Args:
        data: The file's bytes.
        declared: The name of an encoding that the file itself states, if any.
        losses: Where bytes that do not fit are told.

    Raises:
        UnreadableError: The bytes are not text, or not in an encoding that can be told.
    """
    losses = Losses() if losses is None else losses
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _checked(_marked(data, encoding, losses), losses)
    encoding = wide(data[:_SAMPLE])
    if encoding:
        text = _strictly(data[: len(data) // 2 * 2], encoding)
        if text is not None:
            return _checked(text, losses)
    stated = _codec(declared)
    if stated in ("iso2022_jp", "iso-2022-jp"):  # whose bytes are all ASCII too
        return _checked(_replaced(data, stated, losses), losses)
    text = _strictly(data, "utf-8")
    if text is not None:
        return _checked(text, losses)
    words = data.translate(_BETWEEN_WORDS).split()
    sample = b" ".join(word for word in words if not word.isascii())[:_SAMPLE]
    is_foreign = _is_foreign(sample)
    if stated not in ("", "utf-8", *(["cp1252"] if is_foreign else [])) and _is_plausible(data, stated):
        return _checked(_replaced(data, stated, losses), losses)
    mostly = _mostly_utf_8(data, losses)
    if mostly is not None:
        return _checked(mostly, losses)
    encoding = _guessed(sample, is_foreign=is_foreign)
    text = data.decode(encoding, "replace")
    if encoding == "cp1252" and sum(character > "\x7f" for character in text) > _MAX_CP1252_HIGH_SHARE * len(
        text
    ):
        raise UnreadableError("is text in an encoding that cannot be told; save it as UTF-8")
    _tell_replaced(text.count("\ufffd"), losses)
    return _checked(text, losses)


def _is_foreign(sample: bytes) -> bool:
    """Whether most bytes beyond ASCII are in words of a script that is not Latin."""
    plain = sum(map(len, _LETTERS.findall(sample)))
    foreign = sum(map(len, _FOREIGN.findall(sample)))
    return foreign > plain and 3 * foreign > len(sample) - len(sample.translate(None, _HIGH))


def _guessed(sample: bytes, *, is_foreign: bool) -> str:
    """The encoding that makes the most orderly words; Windows-1252 where none stands out."""
    from charset_normalizer import from_bytes

    names = _OTHERS if is_foreign else _LATIN
    found = from_bytes(sample, cp_isolation=list(names), enable_fallback=False, threshold=0.6)
    disorder = {
        one.encoding: (one.chaos, len(_SHIFTED_CASE.findall(str(one))), -one.coherence) for one in found
    }
    best = min(disorder, key=lambda name: (*disorder[name], names.index(name)), default="cp1252")
    if not is_foreign:
        usual = disorder.get("cp1252", (1.0,))[0]
        is_same = sample.decode(best, "replace") == sample.decode("cp1252", "replace")
        return "cp1252" if is_same or disorder[best][0] + _MIN_ADVANTAGE > usual else best
    return best


def _codec(label: str) -> str:
    """Python's name of what a label means in the WHATWG's encoding standard, "" if it means nothing."""
    import webencodings

    found = webencodings.lookup(label.strip()) if label.isascii() else None
    if found is None or found.name in ("utf-16le", "utf-16be", "x-user-defined", "replacement"):
        return ""  # a file whose label can be read is not in UTF-16
    return str(_WIDER.get(found.name, found.codec_info.name))


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_plausible(data: bytes, encoding: str) -> bool:
    """Whether at most one character in fifty does not fit an encoding."""
    text = data.decode(encoding, "replace")
    return text.count("\ufffd") * 50 <= len(text)


def _replaced(data: bytes, encoding: str, losses: Losses) -> str:
    text = data.decode(encoding, "replace")
    _tell_replaced(text.count("\ufffd"), losses)
    return text


def _mostly_utf_8(data: bytes, losses: Losses) -> str | None:
    """Text in UTF-8 with a few bad bytes; None where fewer characters beyond ASCII fit than do not."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    good = sum(character > "\x7f" for character in text) - bad
    if good < bad:
        return None
    _tell_replaced(bad, losses)
    return text


def _tell_replaced(number: int, losses: Losses) -> None:
    losses.count("byte", number, what="did not fit the file's encoding and became \ufffd")


def _marked(data: bytes, encoding: str, losses: Losses) -> str:
    text = _strictly(data, encoding)
    if text is not None:
        return text
    text = data.decode(encoding, "replace")
    if text.count("\ufffd") * 50 > len(text):
        raise UnreadableError("is damaged: its bytes do not follow the encoding that it begins with")
    _tell_replaced(text.count("\ufffd"), losses)
    return text


def wide(start: bytes) -> str:
    """The kind of UTF-16 that a file without a mark is in, "" if none.

    Zero bytes at the even places alone, or at the odd ones alone, tell it, and that the text has no controls.
    """
    even, odd = start[::2].count(0), start[1::2].count(0)
    few, many = sorted((even, odd))
    if few * 20 > many or many <= _MIN_ZERO_SHARE * len(start) / 2:
        return ""
    encoding = "utf-16-be" if even > odd else "utf-16-le"
    text = start[: len(start) // 2 * 2].decode(encoding, "replace")
    is_text = len(_CONTROL.findall(text)) + text.count("\ufffd") <= _MAX_CONTROL_SHARE * len(text)
    return encoding if is_text else ""


def _checked(text: str, losses: Losses) -> str:
    if "\0" in text:
        runs = len(_NULS.findall(text))
        text, number = text.replace("\0", ""), text.count("\0")
        if runs > max(1, _MAX_NUL_RUNS * len(text)) or (runs and len(text) < 64):
            raise UnreadableError("is a binary file, not text; convert it to text, Markdown, HTML or PDF")
        losses.count("NUL byte", number)
    text = _TERMINAL.sub("", text)
    if len(_CONTROL.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        raise UnreadableError("is a binary file, not text; convert it to text, Markdown, HTML or PDF")
    return text
