"""Questions that are encoded as one batch, beside the same ones encoded alone."""

from __future__ import annotations

import numpy as np
import pytest

from clara import Clara
from clara.errors import InputError
from conftest import KINDS, ModelMaker

QUESTIONS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10", "w11 w12"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_each_question_gives(kind: str, make_model: ModelMaker) -> None:
    clara = Clara(*make_model(kind), "tiny")
    together = clara.queries(QUESTIONS)
    for question, query in zip(QUESTIONS, together, strict=True):
        np.testing.assert_allclose(query.vector, clara.query(question).vector, atol=1e-5)
    vectors = np.stack([query.vector for query in together])
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-2  # else equal rows would pass


def test_words_match_as_in_each_question() -> None:
    clara = Clara.from_pretrained("extractive", device="cpu")
    questions = ["When was the bridge opened?", "Who?", "What is the largest moon of the planet Saturn?"]
    memories, _ = clara.compress(["The bridge opened in 1883.", "Titan is the largest moon.", "A man did."])
    for question, query in zip(questions, clara.queries(questions), strict=True):
        alone = clara.query(question)
        assert query.rerank is not None
        assert alone.rerank is not None
        np.testing.assert_allclose(query.rerank(memories), alone.rerank(memories), atol=2e-2)


def test_none_and_bad_ones(make_model: ModelMaker) -> None:
    clara = Clara(*make_model("mistral"), "tiny")
    assert clara.queries([]) == []
    with pytest.raises(InputError):
        clara.queries(["w1", " "])
