"""From bytes to characters: by mark, as UTF-8, as the file states in the WHATWG's names, by its letters."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from clara.documents.reading import Losses, UnreadableError

if TYPE_CHECKING:
    from charset_normalizer.models import CharsetMatch

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
# the encodings of other alphabets; of equals the first is taken
_OTHERS = ("cp1251", "koi8_r", "koi8_u", "cp866", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1253",
           "cp1255", "cp1256", "cp874", "iso8859_5", "iso8859_6", "iso8859_7",
           "mac_cyrillic", "cp855")  # fmt: skip
_SHIFTED_CASE = re.compile("[a-zа-я][A-ZА-Я]")
# languages that Windows-1252 has not all letters of
_WRITTEN_IN = {
    **dict.fromkeys(("Croatian", "Czech", "Hungarian", "Polish", "Romanian", "Slovak", "Slovene"), "cp1250"),
    "Turkish": "cp1254",
}
_C1 = re.compile(rb"[\x80-\x9f]")  # letters in Windows-1250, controls in ISO 8859-2
# measured on texts of 300 and 3,000 characters in 20 languages: none in a western one is taken for another
_MIN_LETTERS = 6
_MIN_COHERENCE = 0.5
_MIN_VETO = 0.3
_MIN_ADVANTAGE = 0.03


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
    if b"\x1b$" in data and (text := _strictly(data, "iso2022_jp")) is not None:
        return _checked(text, losses)
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
    encoding = _other_alphabet(sample) if is_foreign else _latin(b" ".join(words)[:_SAMPLE], sample)
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


def _other_alphabet(sample: bytes) -> str:
    """The encoding, of those of other alphabets than Latin, that makes the most orderly words."""

    def disorder(found: tuple[str, CharsetMatch]) -> tuple[float, int, float]:
        return found[1].chaos, len(_SHIFTED_CASE.findall(str(found[1]))), -found[1].coherence

    # each alone, since of several the library leaves out those that it finds no better
    tried = [(name, match) for name in _OTHERS if (match := _match(sample, name)) is not None]
    return min(tried, key=disorder)[0] if tried else "cp1252"


def _latin(text: bytes, sample: bytes) -> str:
    """Windows-1252, unless the words are clearly of a language that it has not all letters of.

    Args:
        text: The text's words.
        sample: Those with bytes beyond ASCII. Where they alone are of a western language, nothing is clear.
    """
    if len(sample) - len(sample.translate(None, _HIGH)) < _MIN_LETTERS:
        return "cp1252"
    odd, usual = _match(sample, "cp1252"), _match(text, "cp1252")
    if odd is not None and odd.coherence >= _MIN_VETO and odd.language not in _WRITTEN_IN:
        return "cp1252"
    if _strictly(sample, "cp1252") is None and _strictly(sample, "cp1250") is not None:
        return "cp1250"
    chosen, best = "cp1252", _score(usual)
    for name in ("cp1250" if _C1.search(sample) else "iso8859_2", "cp1254"):
        match = _match(text, name)
        if match is None or _WRITTEN_IN.get(match.language) != name.replace("iso8859_2", "cp1250"):
            continue
        is_same = usual is not None and usual.language == match.language
        least = _MIN_COHERENCE if is_same else _MIN_COHERENCE - 0.1
        if match.coherence >= least and _score(match) >= best + (0 if is_same else _MIN_ADVANTAGE):
            chosen, best = name, _score(match)
    return chosen


def _match(data: bytes, encoding: str) -> CharsetMatch | None:
    from charset_normalizer import from_bytes

    return from_bytes(data, cp_isolation=[encoding], enable_fallback=False, threshold=0.6).best()


def _score(match: CharsetMatch | None) -> float:
    return match.coherence - 2 * match.chaos if match is not None else -1.0


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
