"""Published datasets behind a real static server, for the loader's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get
from support.mirror_server import MirrorServer, Script


@dataclass
class Published:
    """A dataset: its URI and a folder that is a mirror of it."""

    uri: str
    folder: Path


@pytest.fixture(scope="session")
def publish_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Published]:
    """Publish a folder and copy it out as a mirror."""

    def make(source: Path, **options: Any) -> Published:
        place = tmp_path_factory.mktemp("published")
        result = publish(source, name="t", repo=place / "repo", **options)
        with DiskStore(place / "repo").open(create=False) as store:
            get(result.uri, place / "mirror", store=store)
        return Published(result.uri, place / "mirror")

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., MirrorServer]]:
    """Serve a mirror folder until the test ends."""
    with ExitStack() as stack:

        def start(folder: Path, script: Script | None = None) -> MirrorServer:
            return stack.enter_context(MirrorServer(folder, script))

        yield start
