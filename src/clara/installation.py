"""What is installed here: versions, device, precision, packaged models with their bases, optional extras."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from packaging.requirements import Requirement

from clara import __version__
from clara.checkpoints import bases
from clara.device import native_precision
from clara.models import PACKAGED, packaged_folder
from clara.provenance import version

DISTRIBUTION = "clara-rag"
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
_FOR_DEVELOPERS = {"dev", "docs", "package", "conformance", "recipes"}


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that the package carries.

    Attributes:
        name: What `--model` calls it.
        folder: Where it is.
        base: File or folder of its base model; None if it is not installed, or included.
        install: Command that installs the missing base; empty if nothing is missing.
    """

    name: str
    folder: Path
    base: Path | None
    install: str


@dataclass(frozen=True, slots=True)
class Extra:
    """An optional extra.

    Attributes:
        name: Its name.
        missing: Packages of it that are not installed; none if it is complete.
        install: Command that installs it.
    """

    name: str
    missing: tuple[str, ...]
    install: str


@dataclass(frozen=True, slots=True)
class Installation:
    """What `clara info` prints.

    Attributes:
        version: Of Clara.
        python: Version and platform.
        libraries: Versions by package; None for one that is not installed.
        device: The device that models run on by default.
        precision: "bfloat16" or "float32": what layers of float32 models compute in there.
        reason: The capability that decides on the precision.
        models: The packaged models.
        extras: All extras for users; empty if Clara runs from a folder without being installed.
    """

    version: str
    python: str
    libraries: dict[str, str | None]
    device: str
    precision: str
    reason: str
    models: tuple[PackagedModel, ...]
    extras: tuple[Extra, ...]


def installation() -> Installation:
    """What is installed here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = native_precision(device)
    threads = f"cpu, {torch.get_num_threads()} threads"
    return Installation(
        version=__version__,
        python=f"{platform.python_version()} on {sys.platform} {platform.machine()}",
        libraries={name: version(name) for name in LIBRARIES},
        device=f"cuda, {torch.cuda.get_device_name()}" if device.type == "cuda" else threads,
        precision=precision.name,
        reason=precision.reason,
        models=tuple(_model(name) for name in PACKAGED),
        extras=tuple(_extras()),
    )


def _model(name: str) -> PackagedModel:
    folder = packaged_folder(name)
    wanted = json.loads((folder / "config.json").read_text(encoding="utf-8"))["base_model_name"]
    base = None if wanted is None else bases.smollm2_file()
    return PackagedModel(name, folder, base, bases.SMOLLM2_INSTALL if wanted and base is None else "")


def _extras() -> list[Extra]:
    """The extras of the installed package, from its metadata."""
    try:
        described = metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(line) for line in described.get_all("Requires-Dist") or ()]
    return [
        Extra(
            name,
            tuple(
                one.name
                for one in requirements
                if one.marker is not None
                and not one.marker.evaluate({"extra": ""})
                and one.marker.evaluate({"extra": name})
                and version(one.name) is None
            ),
            f"pip install '{DISTRIBUTION}[{name}]'",
        )
        for name in described.get_all("Provides-Extra") or ()
        if name not in _FOR_DEVELOPERS
    ]
