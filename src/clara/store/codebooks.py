"""The codecs of one store, of which the learned ones come with their codebooks in its database."""

from __future__ import annotations

import numpy as np

from clara.store.codecs import LEARNED, TRAINING_ROWS, ProductCodec, RowCodec, plain_codec
from clara.store.database import Database
from clara.store.segments import SegmentFiles
from clara.store.validation import MEMORIES


class StoreCodecs:
    """Gives codecs by their names, and learns one where that is due.

    Args:
        database: Of the store.
        memory_dim: Numbers in a row of a memory.
    """

    def __init__(self, database: Database, memory_dim: int) -> None:
        self._database = database
        self._memory_dim = memory_dim
        self._known: dict[tuple[str, int], RowCodec] = {}

    def get(self, width: int, name: str) -> RowCodec:
        """A codec of this store by its name; learned ones come with their codebooks."""
        if (name, width) not in self._known:
            codec: RowCodec
            if name.startswith(f"{LEARNED}-"):
                codec = ProductCodec.read(self._database.codebook(name), width, name)
            else:
                codec = plain_codec(name, width)
            self._known[name, width] = codec
        return self._known[name, width]

    def for_new(self, dtype: str, files: SegmentFiles) -> str:
        """The codec of new memories; a product quantiser is learned when there is enough to learn from."""
        if dtype != LEARNED:
            return dtype
        segments = self._database.segments(MEMORIES)
        learned = [segment.codec for segment in segments.values() if segment.codec.startswith(f"{LEARNED}-")]
        if learned:
            return learned[-1]
        if sum(segment.rows for segment in segments.values()) < TRAINING_ROWS:
            return "float16"
        return self._learn(files)

    def _learn(self, files: SegmentFiles) -> str:
        """Learn a product quantiser from the rows of the store, and keep it; within `writing`."""
        rng = np.random.default_rng(0)
        segments = self._database.segments(MEMORIES)
        share = min(1.0, TRAINING_ROWS / sum(segment.rows for segment in segments.values()))
        rows = [
            files.rows(number, segment)[
                np.sort(rng.choice(segment.rows, max(1, int(segment.rows * share)), replace=False))
            ]
            for number, segment in segments.items()
        ]
        name = f"{LEARNED}-{1 + max(segments)}"
        codec = ProductCodec.learned(np.concatenate(rows), name)
        self._database.add_codebook(name, codec.to_bytes())
        self._known[name, self._memory_dim] = codec
        return name
