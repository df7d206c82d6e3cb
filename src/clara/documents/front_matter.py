"""What a Markdown or AsciiDoc file states of itself in the lines that it begins with."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import NamedTuple

from clara.documents.reading import facts
from clara.documents.scalars import scalar
from clara.documents.text import squeeze
from clara.records import Metadata

_YAML = re.compile(r"---[ ]*\n((?:(?:[\w\"'][^\n:]*:|[ #}\]-]).*\n|\n)*?)(?:---|\.\.\.)[ ]*(?:\n|\Z)")
_TOML = re.compile(r"\+\+\+[ ]*\n((?:.*\n)*?)\+\+\+[ ]*(?:\n|\Z)")
_MAX_CHARS = 20_000
_MAX_DEPTH = 5


class FrontMatter(NamedTuple):
    """The title that is stated, or "", the other values, what follows, and what could not be understood."""

    title: str
    values: Metadata
    rest: str
    unread: str = ""


def split_front_matter(text: str) -> FrontMatter:
    """Take the front matter off a text; a text without any is given back as it is."""
    for pattern, parse in ((_YAML, _parsed_yaml), (_TOML, _parsed_toml)):
        matter = pattern.match(text)
        if matter is None or len(matter[1]) > _MAX_CHARS:
            continue
        rest = text[matter.end() :]
        found = parse(matter[1])
        if found is None:
            return FrontMatter("", {}, rest, matter[1].strip())
        values = facts(_flat(found, "", 0))
        titles = [name for name in values if name.casefold() == "title"]
        title = squeeze(str(values[titles[0]])) if titles else ""
        return FrontMatter(title, {name: values[name] for name in values if name not in titles}, rest)
    return FrontMatter("", {}, text)


def _parsed_yaml(text: str) -> Mapping[str, object] | None:
    import yaml

    if re.search(r"(?:^|[\s\[{,])\*\w", text):  # aliases, by which a text grows without bound
        return None
    try:
        found = yaml.load(text, Loader=yaml.BaseLoader)  # makes strings, lists and dicts alone
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    return found if isinstance(found, dict) else {} if found in (None, "") else None


def _parsed_toml(text: str) -> Mapping[str, object] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return None


def _flat(found: Mapping[str, object], path: str, depth: int) -> dict[str, object]:
    """Values by their dotted names; strings that are numbers or truth values become such."""
    flat: dict[str, object] = {}
    for key, value in found.items():
        name = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            flat |= _flat(value, name, depth + 1)
        elif isinstance(value, str):
            flat[name] = scalar(value.strip()) if name.casefold() != "title" else value
        elif isinstance(value, (int, float, bool, list)):
            flat[name] = value
        elif value is not None:
            flat[name] = str(value)
    return flat
