"""The public interface: its names, where they come from, and what importing them loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import clara
from clara import errors

NAMES = ["Answer", "Clara", "ClaraConfig", "Filter", "Library", "Source"]


def test_all_is_what_is_documented_and_every_error() -> None:
    raised = [name for name in vars(errors) if isinstance(getattr(errors, name), type)]
    assert sorted(clara.__all__) == sorted([*NAMES, *raised])
    assert clara.__all__ == sorted(clara.__all__)
    assert set(clara.__all__) <= set(dir(clara))


def test_every_name_is_there_and_no_other() -> None:
    for name in clara.__all__:
        assert getattr(clara, name).__name__ == name
    with pytest.raises(AttributeError, match="'clara' has no attribute 'Nothing'"):
        _ = clara.Nothing


def test_type_checkers_see_the_names_that_are_imported_when_used() -> None:
    tree = ast.parse(Path(clara.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == clara._MODULE_OF
    assert sorted(typed) == NAMES


def run(code: str) -> str:
    program = [sys.executable, "-c", code]
    return subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_is_quick_and_loads_nothing_heavy() -> None:
    heavy = "('torch', 'transformers', 'numpy', 'wrapt', 'sqlite3', 'typer')"
    code = (
        "import sys, time\nstarted = time.process_time()\nimport clara\n"
        "print(time.process_time() - started)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    runs = [run(code).splitlines() for _ in range(3)]
    assert min(float(seconds) for seconds, _ in runs) < 0.1
    assert runs[0][1] == "[]"


def test_sources_and_filters_load_no_torch() -> None:
    code = "clara.Answer, clara.Source, clara.Filter.parse('format=pdf'); print('torch' in sys.modules)"
    assert run(f"import sys, clara; {code}") == "False"


def test_the_reference_documents_every_name() -> None:
    page = Path(__file__).parents[1] / "docs" / "reference" / "api.md"
    documented = [
        line.removeprefix("::: clara.")
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("::: ")
    ]
    assert sorted(documented) == sorted(clara.__all__)
