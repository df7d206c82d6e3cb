"""The automatic numbers of paragraphs in Word files, which stand nowhere in their text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from clara.documents.html import roman

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PLACE = re.compile(r"%([1-9])")
_MAX_LEVEL = 8


@dataclass(frozen=True, slots=True)
class _Level:
    start: int
    form: str
    text: str


@dataclass(slots=True)
class _Numbering:
    """A list's levels, and the numbers that were reached; lists of one abstract list count on together."""

    levels: dict[int, _Level]
    reached: dict[int, int]
    starts: dict[int, int] = field(default_factory=dict)  # overridden, until they are used


class Numbers:
    """Counts numbered paragraphs in the order in which they are asked for.

    Args:
        root: The root of numbering.xml, None where a file has none.
    """

    def __init__(self, root: Element | None) -> None:
        self._lists: dict[str, _Numbering] = {}
        if root is None:
            return
        abstract = {one.get(f"{W}abstractNumId", ""): one for one in root.iterfind(f"{W}abstractNum")}
        by_style = {
            _value(one.find(f"{W}styleLink")): one
            for one in abstract.values()
            if one.find(f"{W}styleLink") is not None
        }
        reached: dict[str, dict[int, int]] = {}
        for one in root.iterfind(f"{W}num"):
            name = _value(one.find(f"{W}abstractNumId"))
            base = abstract.get(name)
            if base is None:
                continue
            base = by_style.get(_value(base.find(f"{W}numStyleLink")), base)
            levels = dict(map(_level, base.iterfind(f"{W}lvl")))
            starts = {}
            for override in one.iterfind(f"{W}lvlOverride"):
                at = _int(override.get(f"{W}ilvl"), 0)
                if (changed := override.find(f"{W}lvl")) is not None:
                    levels[at] = _level(changed)[1]
                if (start := override.find(f"{W}startOverride")) is not None:
                    starts[at] = _int(_value(start), 1)
            self._lists[one.get(f"{W}numId", "")] = _Numbering(levels, reached.setdefault(name, {}), starts)

    def mark(self, name: str, level: int) -> str | None:
        """What stands before the next paragraph on a level of a list; None if there is no such list."""
        found = self._lists.get(name)
        if found is None or level not in found.levels:
            return None
        own = found.levels[level]
        start = found.starts.pop(level, None)
        if start is not None:
            found.reached[level] = start
        else:
            found.reached[level] = found.reached.get(level, own.start - 1) + 1
        for deeper in [one for one in found.reached if one > level]:
            del found.reached[deeper]
        if own.form == "bullet":
            return "-"
        if own.form == "none":
            return _PLACE.sub("", own.text).strip()

        def number(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            other = found.levels.get(at, own)
            # a level above that no paragraph has reached counts as begun
            value = found.reached.setdefault(at, other.start) if at < level else found.reached[level]
            return _written(value, other.form)

        return _PLACE.sub(number, own.text).strip()


def _level(one: Element) -> tuple[int, _Level]:
    at = _int(one.get(f"{W}ilvl"), 0)
    text = one.find(f"{W}lvlText")
    return at, _Level(
        _int(_value(one.find(f"{W}start")), 1),
        _value(one.find(f"{W}numFmt")) or "decimal",
        _value(text) if text is not None else "",
    )


def _written(value: int, form: str) -> str:
    match form:
        case "lowerLetter" | "upperLetter" if 1 <= value <= 26 * 20:
            letters = chr(ord("a") + (value - 1) % 26) * ((value - 1) // 26 + 1)
            return letters.upper() if form == "upperLetter" else letters
        case "lowerRoman" | "upperRoman" if 1 <= value < 4000:
            return roman(value).upper() if form == "upperRoman" else roman(value)
        case "decimalZero":
            return f"{value:02}"
        case "ordinal":
            ending = "th" if 10 < value % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
            return f"{value}{ending}"
        case _:
            return str(value)


def _value(one: Element | None) -> str:
    return one.get(f"{W}val", "") if one is not None else ""


def _int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default


def style_number(style: Mapping[str, str]) -> tuple[str, int]:
    """The list and level that a style puts its paragraphs in."""
    return style.get("numId", ""), min(_int(style.get("ilvl"), 0), _MAX_LEVEL)
