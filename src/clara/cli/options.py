"""Options that several commands share, and how these open a model and a library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clara.errors import InputError, StoreError
from clara.models.stored import DATABASE

if TYPE_CHECKING:
    from clara.library import Library
    from clara.pipeline import Clara

DEFAULT_STORE = Path("clara-store")

StoreOption = Annotated[
    Path, typer.Option("--store", "-s", envvar="CLARA_STORE", help="Folder of the memory store.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="CLARA_MODEL",
        help="Model folder or hub id, or a packaged model: smollm2 (default) or extractive.",
    ),
]
SubfolderOption = Annotated[
    str | None, typer.Option("--subfolder", help="Subfolder of the model, such as compression-16.")
]
BaseOption = Annotated[
    str | None, typer.Option("--base", help="Base model, if not the one that the checkpoint names.")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ... [default: the first GPU, else cpu].")
]
CountOption = Annotated[
    int | None,
    typer.Option(
        "-k",
        min=1,
        help="Number of passages to return or to answer from [default: the model's own, usually 5].",
    ),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        "-w",
        help="Only passages that meet this condition, such as format=pdf, file=*/contracts/*, "
        "modified>=2026-01-01, or author=Kim for metadata; repeatable.",
    ),
]
HybridOption = Annotated[
    bool | None,
    typer.Option(
        "--hybrid/--no-hybrid",
        help="Combine the dense search with a lexical one (BM25) [default: on for the packaged models].",
    ),
]
ContextOption = Annotated[
    int,
    typer.Option("--context", "-C", min=0, help="Also show this many passages before and after each source."),
]
TextPassagesOption = Annotated[
    str | None,
    typer.Option(
        help="Number of passages to read as text instead of memory, or auto: those that the memories leave "
        "in doubt [default: the model's own].",
    ),
]
ReadingOption = Annotated[
    str | None,
    typer.Option(
        help="joint: all passages in one prompt; separate: one prompt per passage, answered from the "
        "likeliest [default: the model's own].",
    ),
]
MinConfidenceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Give no answer if the estimated probability that the passages contain one is lower.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def open_library(
    store: Path,
    model: str | None,
    subfolder: str | None,
    base: str | None,
    device: str | None,
    *,
    writes: bool = False,
    memory_dtype: str | None = None,
    rate: int | None = None,
) -> Iterator[Library]:
    """The library at `store`; everything that needs no model is checked before the model is loaded."""
    if not writes:
        check_store(store)
    from clara.library import Library
    from clara.store.codecs import check_memory_dtype

    if memory_dtype is not None:
        check_memory_dtype(memory_dtype)
    clara = load_model(model, subfolder, base, device)
    with Library(clara, store, read_only=not writes, memory_dtype=memory_dtype, rate=rate) as library:
        yield library


def check_store(path: Path) -> None:
    """Raise InputError if there is no store at a path, with what is there and what to do."""
    make = f"create one with: clara index PATH --store {path}"
    try:
        exists = path.exists()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"The path {path} cannot be used: {error.strerror}; choose another.") from error
    if not exists:
        raise InputError(f"There is no store at {path}; {make}")
    if not path.is_dir():
        raise InputError(f"{path} is a file, not a store; pass the folder of a store with --store.")
    if (path / DATABASE).exists():
        return
    from clara.store.schema import check_empty

    try:
        check_empty(path)
    except StoreError as error:
        raise InputError(
            f"The folder {path} holds other files, not a store; pass the folder of a store with --store."
        ) from error
    raise InputError(f"The folder {path} is empty, not a store; {make}")


def load_model(model: str | None, subfolder: str | None, base: str | None, device: str | None) -> Clara:
    from clara.pipeline import Clara

    return Clara.from_pretrained(model, subfolder=subfolder, base=base, device=device)


def field_names(joined: str | None) -> tuple[str, ...] | None:
    """Field names from a comma-separated list."""
    if joined is None:
        return None
    names = tuple(name.strip() for name in joined.split(",") if name.strip())
    if not names:
        raise InputError("No field is named; write field names separated by commas.")
    return names


def text_passages_of(value: str | None) -> int | Literal["auto"] | None:
    """The value of `TextPassagesOption`.

    Raises:
        InputError: It is neither a number nor "auto".
    """
    if value is None or value == "auto":
        return value  # type: ignore[return-value]
    if value.isascii() and value.isdigit():
        return int(value)
    raise InputError(f"--text-passages is {value!r}, but must be a number from 0, or auto.")


def check_reading(value: str | None) -> str | None:
    """The value of `ReadingOption`.

    Raises:
        InputError: There is no such way to read.
    """
    if value not in (None, "joint", "separate"):
        raise InputError(f"--reading is {value!r}, but must be joint or separate.")
    return value
