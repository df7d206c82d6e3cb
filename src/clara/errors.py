"""What can go wrong, as one tree of exceptions. Each message is one sentence that a user can act on.

ClaraError
├── InputError             a question, path or option that cannot be used
│   └── DocumentError      a file that cannot be read as a document
├── PromptError            memories and placeholders disagree, or a prompt is too long
├── CheckpointError        a model folder that is missing, broken or unsafe
│   └── MissingRoleError   the checkpoint lacks the role that was asked for
├── TrainingError          a run that cannot go on
├── StoreError             a store that is missing, broken or locked
│   └── StoreMismatchError a store that another model wrote
└── MissingExtraError      an optional dependency is not installed
"""

from __future__ import annotations


class ClaraError(Exception):
    """Root of every error that Clara raises on purpose."""


class InputError(ClaraError, ValueError):
    """A question, path or option cannot be used."""


class DocumentError(InputError):
    """A file cannot be read as a document."""


class PromptError(ClaraError, ValueError):
    """Memories and placeholders disagree, or a prompt exceeds the model's length."""


class CheckpointError(ClaraError, OSError):
    """A model folder is missing, broken or unsafe to read."""


class MissingRoleError(CheckpointError):
    """The checkpoint has no adapter for the role that was asked for."""


class TrainingError(ClaraError, RuntimeError):
    """A training run cannot go on; its last checkpoint is kept."""


class StoreError(ClaraError, OSError):
    """A memory store is missing, broken or in use."""


class StoreMismatchError(StoreError):
    """A memory store was written by another model."""


class MissingExtraError(ClaraError, ImportError):
    """An optional dependency is not installed; the message names the install line."""
