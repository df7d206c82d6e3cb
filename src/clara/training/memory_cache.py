"""Memories of documents that are compressed once and read in every epoch: an append-only file.

In end-to-end training the compressor is frozen, so a document's memory never changes (the paper, section 4).
The file is scratch space of one process; the operating system keeps what is used often in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable
from pathlib import Path

import torch
from torch import Tensor


class MemoryCache:
    """Memories and embeddings by document, on disk.

    Args:
        folder: Where the file lies; it is unlinked at once, so that it vanishes with the process.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - see close
        self._places: dict[Hashable, list[tuple[int, torch.dtype, torch.Size]]] = {}

    def close(self) -> None:
        """Give the file's space back."""
        self._file.close()

    def __enter__(self) -> MemoryCache:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def __contains__(self, document: Hashable) -> bool:
        return document in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, document: Hashable, vectors: Tensor, embedding: Tensor) -> None:
        """Keep a document's memory and its embedding, in their own types.

        Args:
            document: What it is found by.
            vectors: (m, H).
            embedding: (...).
        """
        places = []
        for tensor in (vectors, embedding):
            content = tensor.detach().cpu().contiguous()
            self._file.seek(0, os.SEEK_END)
            places.append((self._file.tell(), content.dtype, content.shape))
            self._file.write(content.view(torch.uint8).numpy().tobytes())
        self._places[document] = places

    def get(self, document: Hashable, device: torch.device) -> tuple[Tensor, Tensor]:
        """A kept document's memory (m, H) and embedding (...).

        Raises:
            KeyError: It was not added.
        """
        vectors, embedding = (self._read(*place).to(device) for place in self._places[document])
        return vectors, embedding

    def _read(self, start: int, dtype: torch.dtype, shape: torch.Size) -> Tensor:
        size = shape.numel() * dtype.itemsize
        self._file.seek(start)
        return torch.frombuffer(bytearray(self._file.read(size)), dtype=dtype).reshape(shape)
