"""Raised and lowered characters in plain text: marks of references set apart, exponents and indices kept."""

from __future__ import annotations

import re

_ORDINALS = frozenset(
    [
        "st",
        "nd",
        "rd",
        "th",
        "er",
        "re",
        "e",
        "ème",
        "eme",
        "o",
        "a",
        "os",
        "as",
        "lle",
        "lles",
        "me",
        "mme",
        "mlle",
        "le",
        "r",
        "s",
        "t",
        "d",
        "rs",
        "tm",
        "sm",
        "®",
        "™",
        "º",
        "ª",
        "te",
        "ste",
        "de",
    ]
)
_MARKS = re.compile(r"[*†‡§¶#]+")
_NUMBERS = re.compile(r"[\d,;\s–-]+")
_EXPONENT = re.compile(r"[+\-−–]?\d{1,3}")
# what an exponent stands after: ten, small numbers, units and variables, brackets
_BASE = re.compile(r"(?:(?<![\d.,])(?:10|\d)|(?<![^\W\d_])(?:[^\W\d_]{1,2}|mol|min|rad)|[)\]])$")
_REFERENCES = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def raised(before: str, text: str, *, is_reference: bool = False) -> str:
    """Raised text as it goes on after `before`: "1883" and "2" give " [2]", "10" and "9" give "^9".

    Args:
        before: The text before it on its line.
        text: What is raised.
        is_reference: It is known to be the mark of a note, as it is a link to one.
    """
    text = " ".join(text.split())
    if not text:
        return ""
    if is_reference or _MARKS.fullmatch(text):
        return f" {text}" if text[0] == "[" else f" [{text.strip('()')}]"
    if text[0] == "[" and text[-1] == "]":
        return f" {text}"
    last = before[-1:]
    if not last or last.isspace():
        return f"[{text}]" if _NUMBERS.fullmatch(text) else text
    if text.casefold() in _ORDINALS and last.isalnum():
        return text
    if _BASE.search(before):
        return f"^{text}" if re.fullmatch(r"[+\-−–]?\w+", text) else f"^({text})"
    if _NUMBERS.fullmatch(text):
        return f" [{text}]"
    return f"^{text}" if _EXPONENT.fullmatch(text) or text.isalnum() else f"^({text})"


def lowered(before: str, text: str) -> str:
    """Lowered text as it goes on after `before`: "H" and "2" give "2", "1010" and "2" give "_2"."""
    text = " ".join(text.split())
    last = before[-1:]
    if not text or not last or last.isspace():
        return text
    if text.isdigit() and (last.isalpha() or last in ")]"):
        return text
    return f"_{text}" if text.isalnum() else f"_({text})"
