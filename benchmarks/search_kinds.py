"""One kind of search in a process of its own, for `search.py`: builds it, or opens it and searches.

    python search_kinds.py build|search KIND FOLDER

FOLDER holds vectors.npy (n, width) float16, directions.npy, queries.npy and truth.npy, or a store. Every kind
finds 100 candidates by projected vectors, which are then compared exactly; "numpy" compares all; "clara ..."
is `clara.store.search` with everything that belongs to it, texts of the hits included.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BEST = 20
CANDIDATES = 100
WANTED = 0.99
_WIDENED = 20_000

Search = Callable[[NDArray[np.float32]], list[int]]
Setting = tuple[str, int] | None


def factory(kind: str, number: int) -> str:
    """FAISS's description of a kind."""
    lists = max(1, min(round(2 * number**0.5), number // 39))
    return {
        "flat": "Flat",
        "sq8": "SQ8",
        "ivf": f"IVF{lists},Flat",
        "ivf-sq8": f"IVF{lists},SQ8",
        "ivf-pq": f"IVF{lists},PQ64",
        "ivf-rabitq": f"IVF{lists},RaBitQ4",
        "hnsw-sq8": "HNSW16_SQ8",
    }[kind]


def settings(kind: str) -> list[Setting]:
    """What is tried, cheapest first."""
    if kind.startswith("ivf"):
        return [("nprobe", probed) for probed in (8, 16, 32, 48, 64, 96, 128, 192, 256, 512)]
    if kind.startswith("hnsw"):
        return [("efSearch", width) for width in (64, 128, 192, 256, 384, 512, 1024)]
    if kind == "lancedb":
        return [("nprobes", probed) for probed in (16, 32, 64, 128, 256)]
    return [None]


def build(kind: str, folder: Path) -> dict[str, Any]:
    """Build a kind; say how long it took and how large it is."""
    started = time.perf_counter()
    if kind == "clara":
        from clara.store import MemoryStore, build_index

        with MemoryStore.open(folder / "store") as store:
            report = build_index(store)
        return {"build_s": round(report.seconds, 1), "bytes": report.bytes, **_chosen(report)}
    if kind in ("numpy", "clara exact"):
        return {"build_s": 0.0, "bytes": 0}
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    directions = np.load(folder / "directions.npy")
    if kind == "lancedb":
        return _build_lance(folder, vectors, started)
    import faiss

    index: Any = faiss.index_factory(
        directions.shape[1], factory(kind, len(vectors)), faiss.METRIC_INNER_PRODUCT
    )
    if kind.startswith("hnsw"):
        index.hnsw.efConstruction = 80
    sample = np.sort(np.random.default_rng(0).permutation(len(vectors))[:130_000])
    if not index.is_trained:
        index.train(vectors[sample].astype(np.float32) @ directions)
    for start in range(0, len(vectors), _WIDENED):
        index.add(vectors[start : start + _WIDENED].astype(np.float32) @ directions)
    path = folder / f"{kind}.faiss"
    faiss.write_index(index, str(path))
    return {"build_s": round(time.perf_counter() - started, 1), "bytes": path.stat().st_size}


def _chosen(report: Any) -> dict[str, Any]:
    return {name: getattr(report, name) for name in ("dimensions", "lists", "probed", "depth", "recall")}


def _build_lance(folder: Path, vectors: NDArray[np.float16], started: float) -> dict[str, Any]:
    import lancedb
    import pyarrow as pa

    width = vectors.shape[1]
    schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), width))])

    def batches() -> Any:
        for start in range(0, len(vectors), _WIDENED):
            part = vectors[start : start + _WIDENED].astype(np.float32)
            column = pa.FixedSizeListArray.from_arrays(part.reshape(-1), width)
            yield pa.record_batch([pa.array(np.arange(start, start + len(part))), column], schema=schema)

    table: Any = lancedb.connect(folder / "lancedb").create_table(
        "vectors", batches(), schema=schema, mode="overwrite"
    )
    lists = max(1, min(round(2 * len(vectors) ** 0.5), len(vectors) // 39))
    table.create_index(metric="dot", num_partitions=lists, index_type="IVF_SQ")
    size = sum(path.stat().st_size for path in (folder / "lancedb").rglob("_indices/**/*") if path.is_file())
    return {"build_s": round(time.perf_counter() - started, 1), "bytes": size}


def opened(kind: str, folder: Path) -> Callable[[Setting], Search]:
    """Open a kind; what comes back takes a setting and gives the search."""
    if kind.startswith("clara"):
        return _open_clara(kind, folder)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    if kind == "numpy":
        return lambda _: lambda query: _exact(vectors, query)
    if kind == "lancedb":
        return _open_lance(folder, vectors)
    import faiss

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    directions = np.load(folder / "directions.npy")
    flags = faiss.IO_FLAG_MMAP if kind.startswith("ivf") else faiss.IO_FLAG_MMAP_IFC
    index: Any = faiss.read_index(str(folder / f"{kind}.faiss"), flags)
    if kind.startswith("ivf"):  # threads that read ahead would be started for every search
        faiss.downcast_InvertedLists(index.invlists).prefetch_nthread = 0

    def with_setting(setting: Setting) -> Search:
        if setting is not None:
            faiss.ParameterSpace().set_index_parameter(index, *setting)

        def run(query: NDArray[np.float32]) -> list[int]:
            _, ids = index.search(query[None] @ directions, CANDIDATES)
            return _rescored(vectors, query, ids[0])

        return run

    return with_setting


def _open_clara(kind: str, folder: Path) -> Callable[[Setting], Search]:
    from clara.store import MemoryStore, search

    store = MemoryStore.open(folder / "store", read_only=True)
    rows = () if store.embedding_dim else (-1, store.memory_dim)
    use = False if kind == "clara exact" else None

    def run(query: NDArray[np.float32]) -> list[int]:
        shaped = query.reshape(rows) if rows else query
        return [hit.stored.id - 1 for hit in search(store, shaped, BEST, index=use)]

    run(np.ones(len(np.load(folder / "queries.npy", mmap_mode="r")[0]), np.float32))  # opens the index
    return lambda _: run


def _open_lance(folder: Path, vectors: NDArray[np.float16]) -> Callable[[Setting], Search]:
    import lancedb

    table: Any = lancedb.connect(folder / "lancedb").open_table("vectors")

    def with_setting(setting: Setting) -> Search:
        assert setting is not None

        def run(query: NDArray[np.float32]) -> list[int]:
            asked = table.search(query).distance_type("dot").nprobes(setting[1]).limit(CANDIDATES)
            return _rescored(vectors, query, np.array(asked.select(["id"]).to_arrow()["id"]))

        return run

    return with_setting


def _exact(vectors: NDArray[np.float16], query: NDArray[np.float32]) -> list[int]:
    blocks = range(0, len(vectors), _WIDENED)
    scores = np.concatenate([vectors[at : at + _WIDENED].astype(np.float32) @ query for at in blocks])
    best = np.argpartition(-scores, BEST - 1)[:BEST]
    return best[np.argsort(-scores[best])].tolist()  # type: ignore[no-any-return]


def _rescored(vectors: NDArray[np.float16], query: NDArray[np.float32], ids: NDArray[np.int64]) -> list[int]:
    ids = np.sort(ids[ids >= 0])
    scores = vectors[ids].astype(np.float32) @ query
    return ids[np.argsort(-scores)[:BEST]].tolist()  # type: ignore[no-any-return]


def resident_mb() -> dict[str, float]:
    """Resident memory of this process: all of it, and without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: round(int(fields[field].split()[0]) / 1024, 1)
        for name, field in (("resident_mb", "VmRSS"), ("anonymous_mb", "RssAnon"))
    }


def searched(kind: str, folder: Path, chosen: Setting, asked: int) -> dict[str, Any]:
    """Open a kind, find the cheapest setting that finds enough unless it is given, and time it."""
    queries, truth = np.load(folder / "queries.npy")[:asked], np.load(folder / "truth.npy")
    started = time.perf_counter()
    make = opened(kind, folder)
    open_s = round(time.perf_counter() - started, 3)
    best: tuple[float, Setting] = (-1.0, None)
    for setting in [chosen] if chosen else settings(kind):
        recall = _recall(make(setting), queries, truth)
        best = max(best, (recall, setting), key=lambda pair: pair[0])
        if recall >= WANTED:
            break
    recall, setting = best
    rounds = [_times(make(setting), queries) for _ in range(3)]
    return {
        "setting": setting,
        "recall_at_20": round(recall, 4),
        "median_ms": round(float(np.median(rounds)), 2),
        "medians_of_rounds_ms": [round(float(np.median(times)), 2) for times in rounds],
        "p95_ms": round(float(np.percentile(rounds, 95)), 2),
        "open_s": open_s,
        **resident_mb(),
    }


def _recall(search: Search, queries: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    found = [len(set(search(query)) & set(row.tolist())) for query, row in zip(queries, truth, strict=False)]
    return float(np.mean(found)) / BEST


def _times(search: Search, queries: NDArray[np.float32]) -> list[float]:
    times = []
    for query in queries:
        started = time.perf_counter()
        search(query)
        times.append(1000 * (time.perf_counter() - started))
    return times


if __name__ == "__main__":
    what, kind, folder, chosen, asked = sys.argv[1:]
    if what == "build":
        result = build(kind, Path(folder))
    else:
        pair = json.loads(chosen)
        result = searched(kind, Path(folder), (pair[0], pair[1]) if pair else None, int(asked))
    print(json.dumps(result))
