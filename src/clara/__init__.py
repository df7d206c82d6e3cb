"""Clara: question answering over your own documents through memory tokens.

The names in `__all__` are the public interface; everything else may change without notice. Importing this
package loads neither torch nor transformers: a name is imported from its module when it is first used.
Importing `clara.model.modeling` and `clara.processing` makes Clara known to transformers' Auto classes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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
    TrainingError,
)

if TYPE_CHECKING:
    from clara.configuration import ClaraConfig
    from clara.library import Library
    from clara.pipeline import Clara
    from clara.records import Answer, Source
    from clara.store.filters import Filter

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "CheckpointError",
    "Clara",
    "ClaraConfig",
    "ClaraError",
    "DocumentError",
    "Filter",
    "InputError",
    "Library",
    "MissingExtraError",
    "MissingRoleError",
    "PromptError",
    "Source",
    "StoreError",
    "StoreMismatchError",
    "TrainingError",
]

_MODULE_OF = {
    "Answer": "clara.records",
    "Clara": "clara.pipeline",
    "ClaraConfig": "clara.configuration",
    "Filter": "clara.store.filters",
    "Library": "clara.library",
    "Source": "clara.records",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
