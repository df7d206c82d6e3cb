"""Rules of the package's structure, read from its source: imports point one way, light parts stay light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import clara

ROOT = Path(clara.__file__).parent


def modules() -> dict[str, ast.Module]:
    """Source of every module by its dotted name."""
    return {
        ".".join(("clara", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): ast.parse(path.read_text(encoding="utf-8"))
        for path in ROOT.rglob("*.py")
    }


SOURCES = modules()


def imports(node: ast.AST, types: bool = False) -> Iterator[str]:
    """Dotted names that a module imports when it runs, and with `types` those of annotations too."""
    if not types and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in SOURCES else node.module for name in names)
    for child in ast.iter_child_nodes(node):
        yield from imports(child, types)


GRAPH = {
    name: {other for other in imports(tree) if other in SOURCES} - {name} for name, tree in SOURCES.items()
}


def reached(name: str) -> set[str]:
    """Everything outside and inside the package that a module imports, directly or through others."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        for other in imports(SOURCES[current]):
            if other in SOURCES and other not in seen and other != "clara":
                waiting.append(other)
            seen.add(other)
    return seen


LAYERS = (
    ("clara",),  # the version and the names of the public door, which it imports on demand
    ("errors", "files", "batching", "prefetch"),
    ("models",),
    ("records", "prompts", "roles", "configuration", "device", "provenance"),
    ("datasets", "documents", "store", "answer_text", "checkpoints"),
    ("evidence", "missing_files", "model"),
    ("processing",),
    ("extractive",),
    ("loading", "reading"),
    ("pipeline",),
    ("corpus_index", "indexing", "installation", "ranking"),
    ("library", "training", "evaluation"),
    ("rendering", "service", "integrations"),
    ("cli",),
    ("__main__",),
)
"""Packages and modules from the lowest layer to the highest; each imports from lower layers only."""


def unit(name: str) -> str:
    """The package or module directly below `clara` that a module belongs to."""
    return ".".join(name.split(".")[1:2]) or "clara"


def test_imports_have_no_circles() -> None:
    # the package itself imports its parts on demand only
    list(
        TopologicalSorter({name: others for name, others in GRAPH.items() if name != "clara"}).static_order()
    )


def test_every_import_points_to_a_lower_layer() -> None:
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    assert {unit(name) for name in SOURCES} == set(layer)
    upward = [
        f"{name} -> {other}"
        for name, tree in SOURCES.items()
        for other in imports(tree, types=True)
        if other in SOURCES
        and name != "clara"
        and unit(name) != unit(other)
        and layer[unit(name)] <= layer[unit(other)]
    ]
    assert upward == []


def test_light_parts_reach_neither_torch_nor_the_model() -> None:
    light = [
        "errors",
        "records",
        "prompts",
        "answer_text",
        "evidence",
        "batching",
        "documents",
        "store",
        "evaluation.metrics",
    ]
    for part in light:
        for name in SOURCES:
            if name == f"clara.{part}" or name.startswith(f"clara.{part}."):
                heavy = {"torch", "transformers", "clara.model", "clara.pipeline"} & reached(name)
                assert not heavy, f"{name} imports {heavy}"


def test_nobody_imports_the_doors() -> None:
    for name, others in GRAPH.items():
        is_door = name.startswith("clara.cli")
        assert is_door or name == "clara.__main__" or not {one for one in others if "clara.cli" in one}, name
        is_shown = is_door or name.startswith("clara.rendering")
        assert is_shown or not {one for one in others if "clara.rendering" in one}, name


OF_MODELS = ("clara.model", "clara.extractive", "clara.configuration", "clara.processing", "clara.loading")
"""The model packages, and the factory that chooses a model's class by its type."""

KIND_FIELDS = (".compressor", ".score", ".prompt_format", ".model_type")


def test_the_extractive_reader_can_be_deleted_in_one_commit() -> None:
    importers = {
        name
        for name, others in GRAPH.items()
        if any(other.startswith("clara.extractive") for other in others)
    }
    assert {name for name in importers if not name.startswith("clara.extractive")} == {"clara.loading"}


def asks_for_kind(node: ast.AST) -> bool:
    """Whether a node compares what kind a model is of, or tests its class."""
    if isinstance(node, ast.Compare) and ast.unparse(node.left).endswith(KIND_FIELDS):
        return any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in ast.walk(node))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        return "Model" in ast.unparse(node.args[1])
    return False


def test_only_the_models_ask_what_kind_a_model_is() -> None:
    found = [
        f"{name}: {ast.unparse(node)}"
        for name, tree in SOURCES.items()
        if not name.startswith(OF_MODELS)
        for node in ast.walk(tree)
        if asks_for_kind(node)
    ]
    assert found == []


def test_public_names_are_those_that_can_be_loaded() -> None:
    assert sorted(clara.__all__) == clara.__all__
    for name in clara.__all__:
        assert getattr(clara, name) is not None
