"""Rows of a file against the array that was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clara.errors import StoreError
from clara.store import segments
from clara.store.segments import FileRows

ROWS, WIDTH = 300, 6
PLACES = st.integers(0, ROWS - 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    data = np.random.default_rng(0).integers(0, 256, (ROWS, WIDTH), np.uint8)
    path = tmp_path_factory.mktemp("rows") / "rows"
    path.write_bytes(data.tobytes() + b"left by a writer")
    return path, data


@given(
    at=st.one_of(
        st.builds(slice, st.integers(0, ROWS), st.integers(0, ROWS)),
        st.lists(PLACES, unique=True).map(sorted).map(lambda at: np.array(at, np.int64)),
        st.lists(PLACES).map(lambda at: np.array(at, np.int64)),
        st.tuples(PLACES, st.integers(1, 9)).map(lambda run: np.arange(run[0], min(ROWS, sum(run)))),
    ),
    sparse=st.sampled_from([1, 2, 16, ROWS]),
    run=st.sampled_from([0, 60, 1 << 16]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_those_that_were_written(
    written: tuple[Path, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    at: slice | np.ndarray,
    sparse: int,
    run: int,
) -> None:
    path, data = written
    monkeypatch.setattr(segments, "_SPARSE", sparse)
    monkeypatch.setattr(segments, "_RUN_BYTES", run)
    found = FileRows(path, ROWS, WIDTH)[at]
    np.testing.assert_array_equal(found, data[at])
    assert found.dtype == np.uint8


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(bytes(ROWS * WIDTH))
    rows = FileRows(path, ROWS, WIDTH)
    with path.open("r+b") as file:
        file.truncate(100 * WIDTH)
    assert rows[90:100].shape == (10, WIDTH)
    for at in (slice(95, 105), np.array([0, 200])):
        with pytest.raises(StoreError, match="ends before its rows do"):
            rows[at]
    with pytest.raises(ValueError, match="greater than file size"):
        FileRows(path, ROWS, WIDTH)
