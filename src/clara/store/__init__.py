"""The memory store: a folder with all documents' passages, memories and keys, and the search in it."""

from clara.store.search import search
from clara.store.store import MemoryStore, NewDocument, StoreInfo

__all__ = ["MemoryStore", "NewDocument", "StoreInfo", "search"]
