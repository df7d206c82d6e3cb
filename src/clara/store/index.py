"""An index over short vectors, which finds candidates among millions of passages without comparing all.

    index/index.json            what the index is of, and its files with their checksums; the commit point
    index/lists-000042.faiss    FAISS: vectors in lists around centres, a byte a dimension
    index/directions-000042.npy what they were projected on, float32

The index holds no scores that anyone sees: its candidates are compared by their stored vectors. It is not
changed after it was built; passages that were added since are compared one by one.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from clara.errors import MissingExtraError, StoreError
from clara.files import atomic_write, sync_file
from clara.store.scoring import VectorTable

if TYPE_CHECKING:
    from clara.store.store import MemoryStore

logger = logging.getLogger(__name__)

FOLDER = "index"
FORMAT_VERSION = 1

MANIFEST = "index.json"
_CHUNK = 1 << 22

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file of the index: its name, its size in bytes and the CRC-32 of its bytes."""

    name: str
    bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """What an index is of.

    Attributes:
        fingerprint: Of the model that wrote the store.
        created: When the store was made, which tells it from others of the same model.
        generation: Of the store when the index was built.
        passages: How many passages the index holds.
        last: The highest id of a passage in it.
        witnesses: Lengths of some passages' vectors by id; a store that was restored from a copy and gave the
            ids to other passages does not have them.
        slots: Rows of a vector that were projected.
        dimensions: Dimension of a projected vector.
        lists: Lists of the index.
        probed: Lists that a search looks through.
        depth: Candidates that a search compares exactly.
        recall: Share of the best 100 that `probed` and `depth` found for vectors like questions.
        files: The lists and the directions.
        format: Version of the index's format.
    """

    fingerprint: str
    created: float
    generation: int
    passages: int
    last: int
    witnesses: dict[int, float]
    slots: int
    dimensions: int
    lists: int
    probed: int
    depth: int
    recall: float
    files: tuple[IndexFile, IndexFile]
    format: int = FORMAT_VERSION

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            StoreError: It is damaged or of another version.
        """
        try:
            if not path.is_file():  # a pipe would be waited for
                raise damaged(path, "it is not a file")
            content = json.loads(path.read_text(encoding="utf-8"))
            entries = content["index"]
            if entries["format"] > FORMAT_VERSION:
                raise StoreError(
                    f"The index {path} has format {entries['format']} and this version of Clara reads up to "
                    f"{FORMAT_VERSION}; build it again."
                )
            if content["crc32"] != _checksum(entries):
                raise damaged(path, "its checksum is not that which was recorded")
            entries["witnesses"] = {int(id_): norm for id_, norm in entries["witnesses"].items()}
            lists, directions = (IndexFile(**file) for file in entries["files"])
            return cls(**{**entries, "files": (lists, directions)})
        except StoreError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, "its manifest cannot be read") from error

    def write(self, path: Path) -> None:
        """Write the manifest with its checksum."""
        entries = json.loads(json.dumps(asdict(self)))
        content = {"index": entries, "crc32": _checksum(entries)}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def is_of(self, store: MemoryStore, table: VectorTable) -> bool:
        """Whether the index belongs to a store in its present state."""
        if (self.fingerprint, self.created) != (store.fingerprint, store.created):
            return False
        ids = np.array(list(self.witnesses), np.int64)
        at = np.minimum(np.searchsorted(table.ids, ids), max(0, len(table.ids) - 1))
        if len(table.ids) == 0:
            return True
        present = table.ids[at] == ids
        norms = np.array(list(self.witnesses.values()))
        return bool((table.norm[at][present] == norms[present]).all())


class VectorIndex:
    """An index that was built, opened for searching; its lists are mapped and not read whole.

    Args:
        folder: The index's folder.

    Raises:
        StoreError: The index is damaged.
        MissingExtraError: FAISS is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.manifest = IndexManifest.read(folder / MANIFEST)
        for file in self.manifest.files:
            _check(folder / file.name, file)
        lists, directions = (folder / file.name for file in self.manifest.files)
        self._faiss = faiss_module()
        try:
            self._directions: NDArray[np.float32] = np.load(directions, allow_pickle=False)
            self._index = self._faiss.read_index(str(lists), self._faiss.IO_FLAG_MMAP)
            # threads that read ahead would be started for every search
            self._faiss.downcast_InvertedLists(self._index.invlists).prefetch_nthread = 0
        except (OSError, ValueError, RuntimeError) as error:
            raise damaged(folder, str(error).splitlines()[0]) from error
        if (self._index.d, self._index.ntotal) != (self.manifest.dimensions, self.manifest.passages):
            raise damaged(folder, "its lists are not those that its manifest speaks of")

    def candidates(
        self, query: NDArray[np.floating], depth: int, allowed: Ids | None = None
    ) -> tuple[Ids, NDArray[np.float32]]:
        """Ids of the passages whose projected vectors are nearest to the query's, and their rough cosines.

        Args:
            query: A unit vector, shape (rows, width); rows beyond those that were projected are left out.
            depth: How many candidates to return, if there are as many.
            allowed: Ids of the passages that may be returned; None for all.
        """
        slots = np.zeros((1, self.manifest.slots, query.shape[1]), np.float32)
        slots[0, : len(query)] = query[: self.manifest.slots]
        short = slots.reshape(1, -1) @ self._directions
        (scores,), (ids,) = self._index.search(short, depth, params=self._parameters(allowed))
        return ids[ids >= 0], scores[ids >= 0]

    def _parameters(self, allowed: Ids | None) -> Any:
        faiss, probed = self._faiss, self.manifest.probed
        if allowed is None:
            return faiss.SearchParametersIVF(nprobe=probed)
        bits = np.zeros(self.manifest.last + 1, bool)
        bits[allowed[allowed <= self.manifest.last]] = True
        selector = faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))
        # passages that are not allowed cost next to nothing, so that more lists cost no more
        share = max(1, int(bits.sum())) / self.manifest.passages
        wider = min(self.manifest.lists, int(np.ceil(probed / share)))
        return faiss.SearchParametersIVF(nprobe=wider, sel=selector)


def faiss_module() -> Any:
    """FAISS, imported when it is first needed.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "An index needs FAISS, and without one every search compares all passages; run: "
            "pip install 'clara-rag[index]'."
        ) from error
    return faiss


def current_stamp(folder: Path) -> tuple[int, int] | None:
    """Tells one state of an index's folder from another; None if there is no index."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def save(
    folder: Path,
    index: Any,
    directions: NDArray[np.float32],
    describe: Callable[[tuple[IndexFile, IndexFile]], IndexManifest],
) -> IndexManifest:
    """Write an index beside the one in use, then put it in its place.

    Killed at any moment, one of the two is whole and in use; leftovers go with the next `save`.

    Raises:
        StoreError: The folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
        number = _next_number(folder)
        lists, paths = folder / f"lists-{number:06d}.faiss", folder / f"directions-{number:06d}.npy"
        faiss_module().write_index(index, str(lists))
        np.save(paths, directions)
        manifest = describe((_described(lists), _described(paths)))
        for path in (lists, paths):
            sync_file(path)
        with atomic_write(folder / MANIFEST, sync=True) as unfinished:
            manifest.write(unfinished)
        kept = {MANIFEST, lists.name, paths.name}
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"The index in {folder} could not be written ({error}); the previous index stays in use."
        ) from error
    return manifest


def _next_number(folder: Path) -> int:
    numbers = (path.stem.removeprefix("lists-") for path in folder.glob("lists-*.faiss"))
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)


def damaged(path: Path, what: str) -> StoreError:
    """The error for an index that cannot be trusted."""
    return StoreError(f"The index {path} is damaged: {what}; build it again.")


def _checksum(entries: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(entries, sort_keys=True).encode())


def _described(path: Path) -> IndexFile:
    return IndexFile(path.name, path.stat().st_size, _crc(path))


def _check(path: Path, file: IndexFile) -> None:
    try:
        if path.stat().st_size != file.bytes or not path.is_file() or _crc(path) != file.crc32:
            raise damaged(path, "its checksum is not that which was recorded")
    except FileNotFoundError as error:
        raise damaged(path, "the file is missing") from error


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
