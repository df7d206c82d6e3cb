"""The examples run with the default model and print the answer with its source."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

from clara import Library
from tests.integrations.conftest import ANSWER, BRIDGE, ROOT

EXAMPLES = ROOT / "examples" / "integrations"
GUIDE = ROOT / "docs" / "integrations.md"
NEEDED = {"haystack": "haystack", "langchain": "langchain_core", "llamaindex": "llama_index.core"}
PRINTED = {
    "bergen": [
        "24 May 1883  (from brooklyn-bridge.md, section 1; ",
        "; brooklyn-bridge.md, section 4; ",  # which has the answer
        "Joseph Strauss  (from golden-gate-bridge.md, section 1",
    ],
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


@pytest.mark.parametrize("name", sorted({*PRINTED} - {"bergen"}))
def test_the_lines_of_the_guide_do_what_it_says(
    name: str, library: Library, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"the framework is not installed (extra {name})")
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    opening = next(block for block in blocks if "from_pretrained" in block)
    lines = next(block for block in blocks if f"clara.integrations.{name} " in block)
    # the tests' library stands for the one that the guide makes; FlashRAG's pipeline is run elsewhere
    names: dict[str, Any] = {"clara": library.clara, "library": library}
    exec(opening.split("\n\n")[1].splitlines()[-1], names)
    exec(lines.split("pipeline =")[0], names)
    if name == "flashrag":
        prompt = names["template"].get_string(
            question=names["question"], retrieval_result=names["retriever"].search(names["question"])
        )
        assert names["generator"].generate([prompt]) == [ANSWER]
        return
    printed = capsys.readouterr().out
    assert ANSWER in printed
    assert name != "langchain" or BRIDGE in printed
