"""The example scripts and the notebook run as they are, and print what they promise; each in its own process.

pytest -m slow tests/test_examples.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import layout

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.slow


def run(name: str, *arguments: object, cwd: Path) -> str:
    """What an example prints; it must not fail."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested() -> None:
    tested = set(re.findall(r'"(\w+\.(?:py|ipynb))"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.name for pattern in ("*.py", "*.ipynb") for path in EXAMPLES.glob(pattern)} <= tested


def test_quickstart(tmp_path: Path) -> None:
    answer, first, *_ = run("quickstart.py", cwd=tmp_path).splitlines()
    assert answer == "24 May 1883"
    assert first.startswith("1. ")
    assert "brooklyn-bridge.md" in first


def test_own_documents_are_indexed_once_and_removed_when_they_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "lease.md").write_text("# Lease\n\nThe lease was signed by Ann Lee on 3 May 2021.", "utf-8")
    (folder / "car.txt").write_text("The car was sold to Tom Fox in 2019.", "utf-8")
    asked = (folder, "Who signed the lease?")
    first = run("own_documents.py", *asked, cwd=tmp_path)
    assert "2 added, 0 replaced, 0 unchanged" in first
    assert "A: Ann Lee" in first
    (folder / "car.txt").unlink()
    again = run("own_documents.py", *asked, "--where", "format=md", cwd=tmp_path)
    assert "0 added, 0 replaced, 1 unchanged" in again
    assert "car.txt" not in again


def test_the_three_stages_learn(tmp_path: Path) -> None:
    out = run("train_three_stages.py", tmp_path / "toy", cwd=tmp_path)
    losses = dict(re.findall(r"^([\w-]+): answer loss [\d.]+ -> ([\d.]+)$", out, re.MULTILINE))
    assert list(losses) == ["compression-pretraining", "instruction-tuning", "end-to-end"]
    assert float(losses["instruction-tuning"]) < 0.5
    before, after = map(float, re.findall(r"([\d.]+) in the first steps, ([\d.]+) on held-out", out)[0])
    assert before < 0.4  # four candidates: chance is 0.25
    assert after > 0.5
    assert (tmp_path / "toy" / "run" / "end-to-end" / "model" / "config.json").is_file()


def test_a_released_checkpoint(tmp_path: Path) -> None:
    checkpoint = layout.write_released(layout.DATA, "checkpoint-cr4", tmp_path)
    out = run("released_checkpoint.py", checkpoint, "--base", layout.DATA / "base", cwd=tmp_path)
    assert len(re.findall(r"^\w+: \d+ memory tokens of dimension \d+$", out, re.MULTILINE)) == 3
    scores = [float(score) for score in re.findall(r"^\d\. (-?[\d.]+) ", out, re.MULTILINE)]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert "answer: " in out


def test_comparison_with_text(tmp_path: Path) -> None:
    out = run("compare_with_text.py", "--questions", 6, cwd=tmp_path)
    values = {way: float(f1) for way, f1 in re.findall(r"^(\w+): F1 ([\d.]+)", out, re.MULTILINE)}
    assert values.keys() == {"memories", "text"}
    assert abs(values["memories"] - values["text"]) < 20  # the same words are read
    assert min(values.values()) > 50


def test_the_notebook_still_prints_what_it_shows(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    shown = [printed(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert all(shown[:-1])  # committed with its outputs
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    assert [printed(cell) for cell in notebook.cells if cell.cell_type == "code"] == shown


@pytest.mark.parametrize("page", ["README.md", "docs/tutorials/python.md"])
def test_the_documentation_prints_what_it_shows(page: str, tmp_path: Path) -> None:
    text = (EXAMPLES.parent / page).read_text(encoding="utf-8")
    (tmp_path / "examples").symlink_to(EXAMPLES)
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    shown = "".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
    assert shown
    done = subprocess.run(
        [sys.executable, "program.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


def printed(cell: dict) -> str:
    """What a cell prints on standard output."""
    return "".join(one["text"] for one in cell["outputs"] if one.get("name") == "stdout")
