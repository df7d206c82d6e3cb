"""What a server is told when it starts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clara.errors import InputError

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask for.

    Attributes:
        queue: Requests that may wait for the model; further ones are refused with 429.
        batch: Requests that the model may take at once.
        seconds: How long a request may take in all.
        body_bytes: Largest body of a request that is no upload.
        upload_bytes: Largest upload.
        stop_seconds: How long open requests may go on after the server was told to stop.
    """

    queue: int = 256
    batch: int = 32
    seconds: float = 120.0
    body_bytes: int = 2 * MEBIBYTE
    upload_bytes: int = 64 * MEBIBYTE
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server listens and what it serves.

    Attributes:
        stores: Folders of the stores; one that does not exist is made. The first is the default.
        model: As for `Clara.from_pretrained`.
        subfolder: Folder within the model.
        base: Where the base model is, if not where the checkpoint says.
        device: torch device.
        host: Address to listen at.
        port: Port; 0 for any that is free.
        keys: Keys of which a client must give one; none to ask for none.
        hosts: Names besides the address under which clients may reach the server.
        origins: Web pages of other servers that may call this one.
        allow_writes: Whether clients may add and remove documents.
        list_sources: Whether a numbered list of sources is appended to the answers of chat completions.
        limits: What one client may ask for.
    """

    stores: Sequence[Path]
    model: str | None = None
    subfolder: str | None = None
    base: str | None = None
    device: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Sequence[str] = ()
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    allow_writes: bool = True
    list_sources: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.stores:
            raise InputError("No store is named; name one with --store.")
        if not is_local(self.host) and not self.keys:
            raise InputError(
                f"The server would be open to the network at {self.host} without a key; give one with "
                "--api-key or CLARA_API_KEY, or listen at 127.0.0.1."
            )
        if any(len(key) < 8 or not key.isascii() for key in self.keys):
            raise InputError("An API key must have 8 characters or more, all of them ASCII.")


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def store_names(stores: Sequence[Path]) -> dict[str, Path]:
    """Stores by the names that clients use: their folders' names, numbered where two are the same.

    Raises:
        InputError: A store is named twice.
    """
    named: dict[str, Path] = {}
    for path in (store.resolve() for store in stores):
        if path in named.values():
            raise InputError(f"The store {path} is named twice; name it once.")
        name, number = path.name, 2
        while name in named:
            name, number = f"{path.name}-{number}", number + 1
        named[name] = path
    return named
