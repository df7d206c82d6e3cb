"""Search among ten thousand to a million memories: time, recall and memory of Clara's and other searches.

    python benchmarks/search.py --data DATA --work WORK --sizes 10000,100000
    python benchmarks/search.py --data DATA --work WORK --sizes 1000000 --lancedb OTHER/bin/python

Two cases: keys of 384 numbers, by which the small model's stores are searched, and memories of 16 x 384
numbers compared slot by slot. Real vectors are compressed once into WORK/real. Figures that are in the
JSON already are
not measured again; a million memories take 13 GB in WORK, which are deleted when they were measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, parser, write
from search_data import (
    BEST,
    RATE,
    Truth,
    compress_real,
    load_real,
    made,
    nearness_of_real,
    squad_questions,
)

from clara.pipeline import Clara
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument
from clara.store.building import leading_directions

KINDS = {
    "keys": [
        "clara",
        "clara exact",
        "ivf-sq8",
        "numpy",
        "flat",
        "sq8",
        "ivf",
        "ivf-rabitq",
        "hnsw-sq8",
        "lancedb",
    ],
    "memories": ["clara", "clara exact"],
}
_HERE = Path(__file__).parent
SLOW = ("numpy", "clara exact", "flat", "sq8")  # asked fewer questions where they take long
_PER_DOCUMENT = 500


def main() -> None:
    arguments = parser(__doc__, "search")
    arguments.add_argument("--work", type=Path, required=True, help="folder for vectors and stores")
    arguments.add_argument("--sizes", default="10000,100000,1000000")
    arguments.add_argument("--cases", default="keys,memories")
    arguments.add_argument("--kinds", default="", help="only these, with commas")
    arguments.add_argument("--real", type=int, default=8192, help="passages to compress")
    arguments.add_argument("--lancedb", default="", help="a Python that has LanceDB; left out if not given")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    result = _so_far(options.json)
    for size in map(int, options.sizes.split(",")):
        for case in options.cases.split(","):
            measure(options, result, case, size)


def measure(options: Namespace, result: dict[str, Any], case: str, size: int) -> None:
    """Measure what is still missing of one case and size."""
    entry = result["cases"].setdefault(case, {}).setdefault(str(size), {"kinds": {}})
    kinds = [kind for kind in KINDS[case] if not options.kinds or kind in options.kinds.split(",")]
    missing = [
        kind for kind in kinds if kind not in entry["kinds"] and (kind != "lancedb" or options.lancedb)
    ]
    if not missing:
        return
    folder = options.work / f"{case}-{size}"
    if not (folder / "done").exists():
        entry |= prepare(options, case, size, folder)
        (folder / "done").write_text(json.dumps(entry))
    for kind in missing:
        python = options.lancedb if kind == "lancedb" else sys.executable
        asked = 10 if kind in SLOW and (size > 20_000 or case == "memories") else 200
        built = run(python, "build", kind, folder, None, asked, 1)
        one = run(python, "search", kind, folder, None, asked, 1)
        two = run(python, "search", kind, folder, one["setting"], asked, 2)
        threads = {f"{name}_2_threads": two[name] for name in ("median_ms", "p95_ms")}
        entry["kinds"][kind] = built | one | threads | {"questions": asked}
        print(case, size, kind, entry["kinds"][kind], flush=True)
        write(options.json, result)
    if size >= 1_000_000 and not options.kinds:
        shutil.rmtree(folder)


def prepare(options: Namespace, case: str, size: int, folder: Path) -> dict[str, Any]:
    """Make vectors, questions, the truth and a store."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    clara = Clara.from_pretrained(options.model, device="cpu")
    compress_real(clara, options.data, options.work / "real", options.real)
    real, held_out = load_real(options.work / "real", case, options.real)
    queries = held_out if case == "memories" else squad_questions(clara, options.data)
    width = clara.model.hidden_size
    truth, started = Truth(queries), time.perf_counter()
    keys = (
        np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (size, real.shape[1]))
        if case == "keys"
        else None
    )
    with MemoryStore.create(
        folder / "store",
        fingerprint="f",
        model="extractive",
        memory_dim=width if keys is None else 1,
        embedding_dim=None if keys is None else width,
    ) as store:
        done = 0
        for vectors in made(real, size):
            stored = vectors.astype(np.float16)
            if keys is not None:
                keys[done : done + len(stored)] = stored
            truth.see(stored.astype(np.float32))
            store.add(_documents(stored, done, width, as_keys=keys is not None))
            done += len(stored)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", truth.ids[:, :BEST])
    np.save(
        folder / "directions.npy", leading_directions(real[:10_000], 0.99, 256) if keys is not None else 0
    )
    return {
        "real_vectors": len(real),
        "nearness": truth.nearness(),
        "nearness_of_real_alone": nearness_of_real(real, queries),
        "made_s": round(time.perf_counter() - started, 1),
    }


def _documents(vectors: Any, first: int, width: int, *, as_keys: bool) -> list[NewDocument]:
    documents = []
    for at in range(0, len(vectors), _PER_DOCUMENT):
        part = vectors[at : at + _PER_DOCUMENT]
        name = f"/texts/{first + at}.txt"
        passages = [Passage(f"Passage {first + at + n}", position=n) for n in range(len(part))]
        # a search by keys does not read memories, so that theirs are one number
        memories = np.ones((len(part), 1, 1), np.float16) if as_keys else part.reshape(len(part), RATE, width)
        documents.append(
            NewDocument(Document(name, name, (), name), passages, list(memories), part if as_keys else None)
        )
    return documents


def run(
    python: str, what: str, kind: str, folder: Path, setting: Any, asked: int, threads: int
) -> dict[str, Any]:
    """Build or search in a process of its own."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    environment = (
        os.environ
        | {name: str(threads) for name in names}
        | {"LANCE_CPU_THREADS": str(threads), "RUST_LOG": "error"}
    )
    script = [str(_HERE / "search_kinds.py"), what, kind, str(folder), json.dumps(setting), str(asked)]
    done = subprocess.run([python, *script], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _so_far(path: Path) -> dict[str, Any]:
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return {"conditions": conditions("extractive") | {"best": BEST}, "cases": {}}


if __name__ == "__main__":
    main()
