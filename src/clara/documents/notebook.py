"""Notebooks (IPYNB): their text, code and what the code printed, in order."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from clara.documents.charsets import decode
from clara.documents.markdown import markdown_reading
from clara.documents.reading import Context, Losses, Reading, UnreadableError

_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_OBJECT = re.compile(r"<[\w.]+(?: \w+)?>")  # what stands for an output that only a browser shows
_BLANK = re.compile(r"\n\s*\n")


def read_notebook(data: bytes, context: Context) -> Reading:
    """Read a notebook; the title is its first heading of level 1. Pictures among its outputs are left out.

    Raises:
        UnreadableError: It is no notebook.
    """
    try:
        book = json.loads(decode(data, losses=context.losses))
        cells = (
            book["cells"]
            if "cells" in book
            else [one for each in book["worksheets"] for one in each["cells"]]
        )
        language = str(book.get("metadata", {}).get("kernelspec", {}).get("language", ""))
        parts = [part for cell in cells for part in _cell(cell, language, context.losses)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError("is not a notebook or a damaged one; open it and save it anew") from error
    title, sections, metadata = markdown_reading("\n\n".join(parts) + "\n", context.losses)
    return Reading(title, tuple(replace(one, lines=None, line_spans=()) for one in sections), metadata)


def _cell(cell: Any, language: str, losses: Losses) -> list[str]:
    source = _text(cell.get("source", cell.get("input", "")))
    kind = cell.get("cell_type")
    if kind == "heading":
        return [f"{'#' * int(cell.get('level', 1))} {source}"]
    if kind != "code":
        losses.count("attached picture", len(cell.get("attachments") or ()))
        return [source]
    parts = [_fenced(source, language)] if source.strip() else []
    for output in cell.get("outputs", ()):
        parts += _output(output, losses)
    return parts


def _output(output: Any, losses: Losses) -> list[str]:
    """What an output says, in the form that keeps most of it: tables are HTML."""
    if "text" in output:
        return [_fenced(_TERMINAL.sub("", _text(output["text"])))]
    if "traceback" in output:
        said = output["traceback"] or [f"{output.get('ename', '')}: {output.get('evalue', '')}"]
        return [_fenced(_TERMINAL.sub("", "\n".join(map(str, said))))]
    data = output.get("data", output)
    losses.count("picture", sum(str(name).startswith("image/") for name in data))
    if "text/markdown" in data:
        return [_text(data["text/markdown"])]
    if "<table" in (html := _text(data.get("text/html", ""))):
        return [_BLANK.sub("\n", html.strip())]
    plain = _text(data.get("text/plain", ""))
    if html and (not plain or _OBJECT.fullmatch(plain.strip())):
        return [_BLANK.sub("\n", html.strip())]
    if plain:
        return [] if any(str(name).startswith("image/") for name in data) else [_fenced(plain)]
    if "text/latex" in data:
        return [_text(data["text/latex"])]
    if "application/json" in data:
        return [_fenced(json.dumps(data["application/json"], ensure_ascii=False, indent=1))]
    kinds = [name for name in data if "/" in str(name) and not str(name).startswith("image/")]
    losses.count("output of a kind that is not read", len(kinds), plural="outputs of kinds that are not read")
    return []


def _text(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _fenced(text: str, language: str = "") -> str:
    longest = max(map(len, re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
