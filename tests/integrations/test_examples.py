"""The examples run with the packaged model and print the answer with its source."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "integrations"
NEEDED = {"haystack": "haystack", "langchain": "langchain_core", "llamaindex": "llama_index.core"}
PRINTED = {
    "bergen": ["24 May 1883  (brooklyn-bridge.md, paragraph 7)", "Joseph Strauss  (golden-gate-bridge.md"],
    "flashrag": ["24 May 1883  (brooklyn-bridge.md, Opening, lines [15, 15])", "1,280 metres"],
    "haystack": ["24 May 1883  (brooklyn-bridge.md, Opening, lines [15, 15])", "Ada Park  (lease, 0."],
    "langchain": ["24 May 1883  (brooklyn-bridge.md, Opening, lines [15, 15])", "Ada Park.  (lease, 2024)"],
    "llamaindex": ["24 May 1883  (brooklyn-bridge.md, Opening, lines [15, 15])", "1,280 metres"],
}


def test_all_examples_are_here() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {f"with_{name}" for name in PRINTED}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRINTED))
def test_an_example_prints_the_answer_with_its_source(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"the framework is not installed (extra {name})")
    runpy.run_path(str(EXAMPLES / f"with_{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    for expected in PRINTED[name]:
        assert expected in printed
