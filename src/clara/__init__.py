"""Clara: question answering over your own documents through memory tokens.

Importing this package imports neither torch nor transformers: names are loaded when they are first used, and
the classes join transformers' Auto classes when those are imported, before or after.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

from clara.errors import (
    CheckpointError,
    ClaraError,
    DocumentError,
    InputError,
    MissingExtraError,
    MissingRoleError,
    PromptError,
    StoreError,
    StoreMismatchError,
)

if TYPE_CHECKING:
    from types import ModuleType

    from clara.configuration import ClaraConfig
    from clara.library import Library
    from clara.loading import load
    from clara.model.modeling import ClaraModel
    from clara.pipeline import Clara
    from clara.processing import ClaraProcessor
    from clara.store.store import MemoryStore

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Clara",
    "ClaraConfig",
    "ClaraError",
    "ClaraModel",
    "ClaraProcessor",
    "DocumentError",
    "InputError",
    "Library",
    "MemoryStore",
    "MissingExtraError",
    "MissingRoleError",
    "PromptError",
    "StoreError",
    "StoreMismatchError",
    "load",
]

_LAZY = {
    "Clara": "clara.pipeline",
    "ClaraConfig": "clara.configuration",
    "ClaraModel": "clara.model.modeling",
    "ClaraProcessor": "clara.processing",
    "Library": "clara.library",
    "MemoryStore": "clara.store.store",
    "load": "clara.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _import_on(trigger: str, module: str) -> None:
    """Import a module of ours once transformers' own is there; ours joins the Auto classes at its end.

    The import may find ours half imported, when it is ours that imports transformers: then nothing is to do.
    """

    def hook(_: ModuleType) -> None:
        import_module(module)

    wrapt.when_imported(f"transformers.models.auto.{trigger}")(hook)


_import_on("configuration_auto", "clara.configuration")
_import_on("modeling_auto", "clara.model.modeling")
_import_on("processing_auto", "clara.processing")
