"""Codecs against slow twins that go number by number, and in stores."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.errors import InputError
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument, codecs, search
from clara.store.codecs import MEMORY_DTYPES, ProductCodec, plain_codec
from clara.store.maintenance import check, compact


def rows(seed: int, count: int, width: int) -> codecs.Rows:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float16)


def slow(row: codecs.Rows, most: int) -> tuple[bytes, list[float]]:
    """A row coded with whole numbers, and read again, one number after the other."""
    (scale,) = struct.unpack("<e", struct.pack("<e", max(abs(float(one)) for one in row) / most))
    whole = [max(-most, min(most, round(float(np.float32(one) / np.float32(scale))))) for one in row]
    data = struct.pack("<e", scale)
    if most == 127:
        data += struct.pack(f"{len(whole)}b", *whole)
    else:
        pairs = [*whole, -8][: len(whole) + len(whole) % 2]
        if len(whole) % 2:
            pairs[-1] = 0
        data += bytes(
            (low + 8) | ((high + 8) << 4) for low, high in zip(pairs[::2], pairs[1::2], strict=True)
        )
    return data, [float(np.float16(one * scale)) for one in whole]


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([("int8", 127), ("int4", 7)]))
def test_whole_numbers_are_those_of_the_slow_way(seed: int, width: int, kind: tuple[str, int]) -> None:
    name, most = kind
    values = rows(seed, 3, width)
    codec = plain_codec(name, width)
    coded = codec.encode(values)
    assert coded.shape == (3, codec.row_bytes)
    for row, data, back in zip(values, coded, codec.decode(coded), strict=True):
        wanted, numbers = slow(row, most)
        assert data.tobytes() == wanted
        assert back.tolist() == pytest.approx(numbers, abs=2e-3)


@pytest.mark.parametrize("name", ["float16", "int8", "int4"])
def test_rows_of_zeros_stay_zeros(name: str) -> None:
    codec = plain_codec(name, 5)
    assert not codec.decode(codec.encode(np.zeros((2, 5), np.float16))).any()


def test_a_learned_codec_takes_the_nearest_centre() -> None:
    values = rows(0, 600, 10)
    codec = ProductCodec.learned(values, "pq-1")
    coded = codec.encode(values)
    assert coded.shape == (600, 3)
    for row, data in zip(values[:20].astype(np.float64), coded, strict=False):
        padded = np.pad(row, (0, 2)).reshape(3, 4)
        for part, centres, chosen in zip(padded, codec.centres.astype(np.float64), data, strict=True):
            distances = ((centres - part) ** 2).sum(axis=1)
            assert distances[chosen] <= distances.min() + 1e-6
    again = ProductCodec.read(codec.to_bytes(), 10, "pq-1")
    assert (again.decode(coded) == codec.decode(coded)).all()


def test_learning_brings_centres_nearer() -> None:
    values = rows(1, 2000, 8)
    errors = []
    for rounds in (0, 1, 12):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(codecs, "_ROUNDS", rounds)
            codec = ProductCodec.learned(values, "pq-1")
        errors.append(float(((codec.decode(codec.encode(values)) - values).astype(float) ** 2).mean()))
    assert errors[0] > errors[1] > errors[2]


def documents(count: int, has_embeddings: bool) -> list[NewDocument]:
    rng = np.random.default_rng(5)
    return [
        NewDocument(
            Document(f"d{at}", "", (), f"hash {at}"),
            [Passage(f"text {at}")],
            [rng.standard_normal((4, 16)).astype(np.float16)],
            rng.standard_normal((1, 8)).astype(np.float16) if has_embeddings else None,
        )
        for at in range(count)
    ]


def create(path: Path, dtype: str, has_embeddings: bool = True) -> MemoryStore:
    return MemoryStore.create(
        path,
        fingerprint="f",
        model="m",
        memory_dim=16,
        embedding_dim=8 if has_embeddings else None,
        memory_dtype=dtype,
    )


@pytest.mark.parametrize("has_embeddings", [True, False])
@pytest.mark.parametrize("dtype", MEMORY_DTYPES)
def test_a_store_gives_memories_back_as_its_dtype_allows(
    tmp_path: Path, dtype: str, has_embeddings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clara.store.codebooks.TRAINING_ROWS", 1200)
    items = documents(400, has_embeddings)
    with create(tmp_path, dtype, has_embeddings) as store:
        for start in range(0, 400, 100):
            store.add(items[start : start + 100])
        assert check(store).faults == []
    with MemoryStore.open(tmp_path, read_only=True) as store:
        assert store.info().memory_dtype == dtype
        ids = store.vectors().ids.tolist()
        found = np.stack(store.memories(ids)).astype(float)
        wanted = np.stack([item.memories[0] for item in items]).astype(float)
        error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        assert error <= {"float16": 0, "int8": 0.02, "int4": 0.15, "pq": 0.3}[dtype]
        if dtype == "pq":  # what came before there was enough to learn from stands as it was given
            assert (found[:300] == wanted[:300]).all()
            assert (found[300:] != wanted[300:]).any()
        best = search(store, items[7].embeddings[0] if has_embeddings else items[7].memories[0], 1)[0]
        assert best.stored.source == "d7"
        assert best.score == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("dtype", MEMORY_DTYPES)
def test_compaction_changes_the_dtype(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clara.store.codebooks.TRAINING_ROWS", 400)
    items = documents(200, True)
    with create(tmp_path, "float16") as store:
        store.add(items)
        report = compact(store, memory_dtype=dtype)
        assert (report.memory_dtype, store.info().dead_bytes) == (dtype, 0)
        assert store.info().memory_bytes == 800 * {"float16": 32, "int8": 18, "int4": 10, "pq": 4}[dtype]
        store.add(
            [
                NewDocument(
                    Document("new", "", (), "n"), [Passage("x")], [items[0].memories[0]], items[0].embeddings
                )
            ]
        )
    with MemoryStore.open(tmp_path) as store:
        assert store.memory_dtype == dtype
        assert check(store).faults == []
        ids = store.vectors().ids.tolist()
        assert (store.memories(ids)[0] == store.memories(ids)[-1]).all()


def test_there_is_no_other_dtype(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one of float16, int8, int4, pq"):
        create(tmp_path, "int2")
    with create(tmp_path, "float16") as store, pytest.raises(InputError, match="must be one of"):
        compact(store, memory_dtype="int2")
    with pytest.raises(InputError, match="clara store compact --memory-dtype int8"):
        MemoryStore.open_or_create(
            tmp_path, fingerprint="f", model="m", memory_dim=16, embedding_dim=8, memory_dtype="int8"
        )
