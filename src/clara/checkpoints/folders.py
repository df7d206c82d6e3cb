"""From a name to a local folder: a path, or a part of a repository of the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from clara.errors import CheckpointError

FILES = (
    "config.json",
    "model.safetensors",
    "adapters/*",
    "processor_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "adapters.pth",
    "decoder_first_last_layers.pth",
)
"""What a model folder of our format or Apple's can hold; nothing else is downloaded."""


def find_folder(
    name: str | os.PathLike[str],
    *,
    subfolder: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Path:
    """The local folder of a model.

    Args:
        name: A folder, or a hub id; a folder wins.
        subfolder: Folder within it.
        revision: Branch, tag or commit of a hub repository.
        cache_dir: Where downloads are kept, if not in the hub's own cache.
        token: For repositories that ask for one.
        local_files_only: Do not download.

    Raises:
        CheckpointError: There is no such folder, and the hub has none or cannot be reached.
    """
    path = Path(name).expanduser()
    if not path.exists():
        root = _download(str(name), subfolder, revision, cache_dir, token, local_files_only)
    elif path.is_dir():
        root = path
    else:
        raise CheckpointError(f"{path} is a file; name the folder of the model.")
    folder = root / subfolder if subfolder else root
    if not (folder / "config.json").is_file():
        inner = sorted(child.parent.name for child in folder.glob("*/config.json"))
        hint = (
            f"pass one of its subfolders {', '.join(inner)}"
            if inner
            else "name the folder or subfolder of a model"
        )
        shown = f"{name}/{subfolder}" if subfolder else str(name)
        raise CheckpointError(
            f"{shown} has no config.json; {hint}, such as compression-16 of the released ones."
        )
    return folder


def _download(
    name: str,
    subfolder: str | None,
    revision: str | None,
    cache_dir: str | Path | None,
    token: str | bool | None,
    local_files_only: bool,
) -> Path:
    """Fetch the files of a model, of one subfolder only where one is named."""
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_dir,
                token=token,
                local_files_only=local_files_only,
                allow_patterns=[prefix + file for file in FILES],
            )
        )
    except HFValidationError as error:
        raise CheckpointError(f"{name} is neither a folder nor a hub id; check the spelling.") from error
    except (HfHubHTTPError, OSError, OfflineModeIsEnabled) as error:
        raise CheckpointError(
            f"{name} is not a folder here and could not be fetched from the Hugging Face hub "
            f"({_reason(error)}); check the name and the connection."
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return "it asks for access"
    if isinstance(error, RepositoryNotFoundError):
        return "no such repository"
    if isinstance(error, RevisionNotFoundError):
        return "no such revision"
    return "not in the cache, and the hub cannot be reached"
