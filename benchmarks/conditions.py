"""What every benchmark states beside its figures, and how it writes them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

import clara
from clara.device import native_precision

sys.path.append(str(Path(__file__).parent.parent))  # for the package `recipes`


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """Arguments that every benchmark takes."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--data", type=Path, required=True, help="folder with squad11_dev.jsonl.xz")
    arguments.add_argument(
        "--model",
        default="extractive",
        help="model folder, or a packaged model: extractive (default) or smollm2",
    )
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / f"{name}.json")
    return arguments


def conditions(model: str) -> dict[str, Any]:
    """Machine, versions, commit, and whether a float32 model's layers compute in bfloat16 here by default."""
    precision = native_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return {
        "clara": clara.__version__,
        "commit": _commit(),
        "model": model,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "bfloat16": precision.bfloat16,
        "bfloat16_reason": precision.reason,
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def write(path: Path, result: dict[str, Any]) -> None:
    """Print figures with their conditions and keep them as JSON."""
    text = json.dumps(result, indent=1)
    print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def _commit() -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor()
