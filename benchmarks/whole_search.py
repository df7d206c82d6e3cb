"""The search of a question as its users get it, among ten thousand to a million passages, step by step.

    python benchmarks/whole_search.py --data DATA --work WORK --sizes 10000,100000,1000000

`Clara.search`, with the packaged model's own settings: the question is encoded, keys and words put passages
forward, and their memories are matched. Passages are made of real ones: the first half of one and the second
half of another, in text and memory, with a key between both (`search_data.py`), so that words are as frequent
as in Wikipedia. Questions are those of SQuAD dev. A million passages take 16 GB in WORK, where
stores are kept for another run.
"""

from __future__ import annotations

import json
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
from search_data import RATE, Matrix, compress_real, load_passages, made_of, squad_texts
from search_kinds import resident_mb

from clara.pipeline import Clara
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument, build_index, explain

PASSAGES_A_DOCUMENT = 20
FILTERS = {"of 50 %": "format=md", "of 1 %": "part=7"}
COMPARED = 20
"""Questions that are also searched without the index."""


def main() -> None:
    arguments = parser(__doc__, "whole_search")
    arguments.add_argument("--work", type=Path, required=True, help="folder for vectors and stores")
    arguments.add_argument("--sizes", default="10000,100000,1000000")
    arguments.add_argument("--real", type=int, default=8192, help="passages to compress")
    arguments.add_argument("--memory-dtype", default="float16")
    arguments.add_argument("--searched", type=Path, help="only search the store in this folder")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    if options.searched:
        print(json.dumps(searched(options)))
        return
    result: dict[str, Any] = {"conditions": conditions("extractive"), "sizes": {}}
    for size in map(int, options.sizes.split(",")):
        folder = options.work / f"whole-{size}"
        built = filled(options, size, folder)
        again = [sys.executable, __file__, "--data", options.data, "--work", options.work]
        again += ["--threads", str(options.threads), "--searched", folder]
        done = subprocess.run([*map(str, again)], stdout=subprocess.PIPE, text=True, check=True)
        result["sizes"][size] = built | json.loads(done.stdout.splitlines()[-1])
        write(options.json, result)


def filled(options: Namespace, size: int, folder: Path) -> dict[str, Any]:
    """Make a store, and say how long that and its index took; one that is there is kept."""
    note = folder / "built.json"
    if note.exists():
        built: dict[str, Any] = json.loads(note.read_text())
        return built
    shutil.rmtree(folder, ignore_errors=True)
    clara = Clara.from_pretrained(options.model, device="cpu")
    compress_real(clara, options.data, options.work / "real", options.real)
    texts, memories, keys = load_passages(options.work / "real", options.real)
    started, done = time.perf_counter(), 0
    with MemoryStore.create(
        folder,
        fingerprint=clara.fingerprint,
        model=clara.name,
        memory_dim=clara.model.hidden_size,
        embedding_dim=clara.embedding_dim,
        memory_dtype=options.memory_dtype,
    ) as store:
        for made, parents in made_of(keys, size):
            store.add(_documents(made, parents, texts, memories, done))
            done += len(made)
            print(
                f"{done:,} of {size:,} passages, {done / (time.perf_counter() - started):.0f}/s", flush=True
            )
        filling = time.perf_counter() - started
        report = build_index(store)
        info = store.info()
    built = {
        "filling_s": round(filling, 1),
        "index_s": round(report.seconds, 1),
        "memory_bytes_a_passage": round(info.memory_bytes / size),
        "database_bytes_a_passage": round(info.database_bytes / size),
    }
    note.write_text(json.dumps(built))
    return built


def _documents(keys: Matrix, parents: Any, texts: list[str], memories: Any, first: int) -> list[NewDocument]:
    """Documents of passages whose halves come from two parents each."""
    documents = []
    for at in range(0, len(keys), PASSAGES_A_DOCUMENT):
        number = (first + at) // PASSAGES_A_DOCUMENT
        name = f"/texts/{number}.{'md' if number % 2 else 'txt'}"
        passages, held = [], []
        for position, (one, other) in enumerate(parents[at : at + PASSAGES_A_DOCUMENT]):
            left, right = texts[one], texts[other]
            text = f"{left[: len(left) // 2]} {right[len(right) // 2 :]}"
            passages.append(Passage(text, position=position, metadata={"part": number % 100}))
            held.append(np.concatenate([memories[one][: RATE // 2], memories[other][RATE // 2 :]]))
        own = keys[at : at + PASSAGES_A_DOCUMENT]
        documents.append(NewDocument(Document(name, name, (), name), passages, held, own))
    return documents


def searched(options: Namespace) -> dict[str, Any]:
    """Open a store and search it."""
    clara = Clara.from_pretrained(options.model, device="cpu")
    questions = squad_texts(options.data)
    started = time.perf_counter()
    with MemoryStore.open(options.searched, read_only=True) as store:
        first = clara.search(questions[0], store, 20)
        opened = time.perf_counter() - started
        figures: dict[str, Any] = {"open_and_first_search_s": round(opened, 2), "hits": len(first)}
        figures |= timed(clara, store, questions)
        figures |= {
            f"{name}_without_words": value
            for name, value in timed(clara, store, questions, hybrid=False).items()
        }
        figures["filters"] = {
            name: filtered(clara, store, questions, where) for name, where in FILTERS.items()
        }
        figures |= resident_mb()
        figures["found_of_20_without_index"] = agreement(clara, store, questions[:COMPARED])
    return figures


def timed(clara: Clara, store: MemoryStore, questions: list[str], **options: Any) -> dict[str, Any]:
    """Milliseconds of a whole search and of each of its steps, medians and 95th percentiles."""
    times, steps = [], []
    for question in questions:
        started = time.perf_counter()
        found = clara.explain(question, store, 20, **options)
        times.append(1000 * (time.perf_counter() - started))
        steps.append({step.name: step.milliseconds for step in found.steps})
    names = dict.fromkeys(name for each in steps for name in each)
    return {
        "median_ms": round(float(np.median(times)), 1),
        "p95_ms": round(float(np.percentile(times, 95)), 1),
        "steps_ms": {
            name: round(float(np.median([each.get(name, 0.0) for each in steps])), 1) for name in names
        },
    }


def filtered(clara: Clara, store: MemoryStore, questions: list[str], where: str) -> dict[str, float]:
    """Milliseconds of the first search with a filter, and of later ones."""
    started = time.perf_counter()
    clara.search(questions[0], store, 20, where=where)
    first = 1000 * (time.perf_counter() - started)
    return {
        "first_ms": round(first, 1),
        "median_ms": timed(clara, store, questions, where=where)["median_ms"],
    }


def agreement(clara: Clara, store: MemoryStore, questions: list[str]) -> float:
    """Share of the best 20 of a search that compares every key which the search with the index finds."""
    shares = []
    for question in questions:
        query = clara.query(question)
        found = [
            {
                hit.stored.id
                for hit in explain(
                    store, query.vector, 20, question=question, rerank=query.rerank, index=index
                ).hits
            }
            for index in (None, False)
        ]
        shares.append(len(found[0] & found[1]) / len(found[1]))
    return round(float(np.mean(shares)), 4)


if __name__ == "__main__":
    main()
