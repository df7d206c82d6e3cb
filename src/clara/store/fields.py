"""The fields that a filter may name, and what to say of one that there is not."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from clara.errors import InputError
from clara.store.filters import BUILT_IN, Condition

_SHOWN = 10


def unknown_field(condition: Condition, fields: Sequence[str]) -> InputError:
    """The error that tells of a field that no passage has.

    Args:
        condition: The expression that asks for it.
        fields: The fields of the passages' metadata.
    """
    meant = _similar(condition.name, [*BUILT_IN, *fields])
    hint = f"perhaps {meant} is meant, and " if meant else ""
    return InputError(
        f"The filter {condition} asks for the field {condition.name}, which no passage has; {hint}"
        f"there are {_listed(fields)}."
    )


def _similar(name: str, fields: Sequence[str]) -> str:
    """The field that differs in case alone, or else little; empty if there is none."""
    folded = {field.casefold(): field for field in fields}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.75)
    return folded[close[0]] if close else ""


def _listed(fields: Sequence[str]) -> str:
    always = ", ".join(BUILT_IN)
    if not fields:
        return f"{always}, and no passage has metadata"
    more = f" and {len(fields) - _SHOWN:,} more" if len(fields) > _SHOWN else ""
    return f"{always}, and of the metadata {', '.join(fields[:_SHOWN])}{more}"
