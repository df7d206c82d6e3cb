"""The memory store: a folder with all documents' passages, memories and embeddings, and the search in it."""

from clara.store.building import IndexReport, build_index, index_is_due, refresh_index
from clara.store.database import StoredReading
from clara.store.explanation import Explanation
from clara.store.filters import Filter
from clara.store.search import explain, search
from clara.store.store import MemoryStore, NewDocument, StoreInfo

__all__ = [
    "Explanation",
    "Filter",
    "IndexReport",
    "MemoryStore",
    "NewDocument",
    "StoreInfo",
    "StoredReading",
    "build_index",
    "explain",
    "index_is_due",
    "refresh_index",
    "search",
]
