"""The tables of the documentation are those of the runs that it names."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "figures.py"


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_says_what_was_measured() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_another_number_in_a_table_is_found(figures: ModuleType) -> None:
    text = (figures.ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- figures: .*?<!-- end -->", text, re.DOTALL)
    assert table is not None
    changed = text.replace(table.group(), re.sub(r"\d\.\d \(", "99.9 (", table.group(), count=1))
    assert changed != text
    assert figures.filled(changed) == text


def test_the_figure_has_the_numbers_of_the_log(figures: ModuleType) -> None:
    drawn = figures.FIGURE.read_text(encoding="utf-8")
    rows = [row for row in figures.log_rows() if row[0] in ("gold alone", "5 found at 4x")]
    assert len(rows) == 5
    for _, reading, f1, positions in rows:
        assert f">{reading}<" in drawn
        assert f">{f1}<" in drawn
        assert f">{positions}<" in drawn
    widths = [float(width) for width in re.findall(r'rect x="240" y="\d+" width="([\d.]+)"', drawn)]
    ratios = [width / int(row[3]) for width, row in zip(widths, rows, strict=True)]
    assert max(ratios) / min(ratios) < 1.01  # bars are as long as the numbers say


def test_the_readme_is_short() -> None:
    assert len((SCRIPT.parents[1] / "README.md").read_text(encoding="utf-8").split()) <= 900
