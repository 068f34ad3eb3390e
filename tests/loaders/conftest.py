"""Published datasets behind a real static server, for the loader's tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    source = tmp_path_factory.mktemp("text")
    rng = random.Random(3)
    for number in range(300):
        (source / f"f{number:04d}.txt").write_text(
            f"{number}: " + "".join(rng.choices("abc def\n", k=rng.randrange(20, 3000)))
        )
    return source, publish_folder(source, leaf_size=16384, shard_size=1 << 20)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """2,000 JPEGs with labels, loose: packed into tars."""
    source = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for number in range(2000):
        image = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
        image.save(source / f"i{number:05d}.jpg", quality=60)
        (source / f"i{number:05d}.cls").write_text(str(number % 10))
    return source, publish_folder(source, leaf_size=65536, shard_size=1 << 20)


@pytest.fixture
def texts(text: Any) -> tuple[dict[str, str], Any]:
    source, published = text
    return {path.name: path.read_text() for path in source.iterdir()}, published
