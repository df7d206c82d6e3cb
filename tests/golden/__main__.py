"""Check a folder of golden data: `python -m tests.golden [DIR]`, from the root of the repository.

Prints the worst deviation of every quantity; the exit code is 1 if one is above the tolerance. The default
folder is the copy in the repository. `data/README.md` explains its content and `layout.py` its layout.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.golden.layout import DATA, checkpoint_names
from tests.golden.quantities import TOLERANCE, deviations


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="a folder of golden data")
    folder: Path = parser.parse_args(arguments).folder
    if not checkpoint_names(folder):
        parser.error(f"{folder} holds no checkpoint-*/config.json")
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for checkpoint, quantity, value in deviations(folder, Path(scratch)):
            failed += not value <= TOLERANCE
            mark = "" if value <= TOLERANCE else f"  above {TOLERANCE:g}"
            print(f"{checkpoint:<18} {quantity:<24} {value:.1e}{mark}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
