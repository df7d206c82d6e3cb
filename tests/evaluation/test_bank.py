"""A bank's searches are those of a library over the same passages."""

from __future__ import annotations

from pathlib import Path

import pytest

from clara.evaluation.bank import MemoryBank
from clara.library import Library
from clara.pipeline import Clara
from conftest import tiny_model


@pytest.mark.parametrize("hybrid", [False, True])
def test_searches_are_those_of_a_library(tmp_path: Path, texts: list[str], hybrid: bool) -> None:
    clara = Clara(*tiny_model("bert"), name="tiny")
    bank = MemoryBank.filled(clara, tmp_path / "bank", texts, None)
    question = " ".join(texts[2].split()[:2])
    with Library(clara, tmp_path / "library") as library:
        library.add_texts({str(number): text for number, text in enumerate(texts)})
        hits = library.search(question, k=len(texts), hybrid=hybrid)
    found = (bank.joined if hybrid else bank.search)(question, len(texts))
    bank.close()
    assert [texts[number] for number in found] == [hit.stored.passage.text for hit in hits]
    other = MemoryBank.filled(clara, tmp_path / "bank", texts, None)
    assert (other.search if hybrid else other.joined)(question, len(texts)) != found
    other.close()
