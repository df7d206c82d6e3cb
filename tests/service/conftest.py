"""A service with the packaged model over the example documents, in this process and as a real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from clara import Clara, Library
from clara.service.app import create_app
from clara.service.service import Service
from clara.service.settings import Settings
from service.servers import DOCUMENTS, run_server

FOLDERS = ("technology", "space")


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of some examples, made once; not to be written to."""
    path = tmp_path_factory.mktemp("made") / "notes"
    with Library(Clara.from_pretrained("extractive", device="cpu"), path) as library:
        library.add([DOCUMENTS / name for name in FOLDERS])
    return path


@pytest.fixture
def store(made_store: Path, tmp_path: Path) -> Path:
    """A copy of that store."""
    return Path(shutil.copytree(made_store, tmp_path / "notes"))


@pytest.fixture(scope="session")
def library(made_store: Path) -> Iterator[Library]:
    """The library that answers are compared with."""
    with Library(Clara.from_pretrained("extractive", device="cpu"), made_store, read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """What answers behind `client`: two stores, of which the second is empty."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(made_store, folder / "notes")
    return Service(Settings([folder / "notes", folder / "empty"], model="extractive", device="cpu"))


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    """A client of the application in this process."""
    app = create_app(service.settings, service=service)
    with TestClient(app, base_url="http://127.0.0.1:8000") as opened:
        service.wait()
        yield opened


@pytest.fixture(scope="module")
def server(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server in a process of its own."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copytree(made_store, folder / "notes")
    with run_server(folder / "notes") as url:
        yield url
