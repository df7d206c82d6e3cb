"""What would be indexed of a file, passage by passage, and what would not; needs no model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clara.documents.options import ReadOptions
from clara.documents.passages import CountTokens, cut
from clara.documents.readers import read_documents
from clara.errors import InputError
from clara.models import packaged_folder
from clara.records import Passage

_TOKENIZER, _PROCESSOR = "tokenizer.json", "processor_config.json"


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """A document as it would be indexed.

    Attributes:
        source: The absolute path of the file, and "#part-2" and so on of the later parts of a large one.
        title: The title that it states, or its name.
        passages: What would be compressed, in order.
        left_out: What of the file would not be, a line for each kind of thing.
    """

    source: str
    title: str
    passages: tuple[Passage, ...]
    left_out: tuple[str, ...]


def show(
    path: str | os.PathLike[str],
    options: ReadOptions | None = None,
    model: str | os.PathLike[str] | None = None,
) -> list[ShownDocument]:
    """What would be indexed of a file; a large file is several documents.

    Args:
        path: The file.
        options: Which fields of records are read as what.
        model: A model's folder, by whose tokens and lengths passages are cut; the packaged one if None.

    Raises:
        DocumentError: The file cannot be read.
        InputError: The folder holds no model with a tokenizer.
    """
    max_tokens, count_tokens = lengths_of(Path(model) if model is not None else packaged_folder())
    return [
        ShownDocument(
            document.source, document.title, tuple(cut(document, max_tokens, count_tokens)), document.left_out
        )
        for document in read_documents(path, options or ReadOptions())
    ]


@cache
def lengths_of(folder: Path) -> tuple[int, CountTokens]:
    """The longest passage of a model in tokens, title included, and its counter of tokens.

    Raises:
        InputError: The folder holds no model with a tokenizer.
    """
    import json

    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
        stated = json.loads((folder / _PROCESSOR).read_text(encoding="utf-8"))
        longest = int(stated["doc_max_tokens"])
    except Exception as error:  # the tokenizer's own errors are plain exceptions
        raise InputError(
            f"{folder} is no model's folder with a {_TOKENIZER} and a {_PROCESSOR}; name one, or leave it "
            "out for the packaged model."
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    # in pairs a token stands between title and text
    return longest - (stated.get("prompt_format") == "pairs"), _counter(tokenizer.encode_batch)


def _counter(encode: Callable[..., Sequence[Any]]) -> CountTokens:
    def count(texts: list[str]) -> list[int]:
        return [len(each) for each in encode(texts, add_special_tokens=False)]

    return count
