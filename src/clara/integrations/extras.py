"""The error for a framework that is not installed."""

from __future__ import annotations

from clara.errors import MissingExtraError

_PACKAGES = {"langchain": "langchain-core", "llamaindex": "llama-index-core", "haystack": "haystack-ai"}


def missing(extra: str) -> MissingExtraError:
    """What to raise where a framework cannot be imported.

    Args:
        extra: Of this package; the module of the same name needs it.
    """
    return MissingExtraError(
        f"clara.integrations.{extra} needs the package {_PACKAGES[extra]}; "
        f"run: pip install 'clara-rag[{extra}]'."
    )
