"""One attacked process for each test file: starting Python for every attack would cost more than the attacks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sources import snapshot
from support.victim import Victim


@pytest.fixture(scope="module")
def _victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with Victim(tmp_path_factory.mktemp("cache")) as victim:
        yield victim


@pytest.fixture
def victim(_victim: Victim) -> Victim:
    """The process; its evidence and cache are empty."""
    import shutil

    for path in _victim.cache.iterdir():
        shutil.rmtree(path)
    return _victim


@pytest.fixture
def outside(victim: Victim, tmp_path: Path) -> Iterator[Path]:
    """What lies around the destination and the cache: it must be the same afterwards."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "precious.txt").write_bytes(b"precious")
    before = snapshot(place)
    beside = {path.name for path in tmp_path.iterdir()}
    yield place
    assert snapshot(place) == before
    assert {path.name for path in tmp_path.iterdir()} - beside <= {"dest", "origin", "src", "repo", "mirror"}
    assert {path.name for path in victim.cache.iterdir()} <= {"train", "holdfast"}
    assert not [path for path in victim.cache.rglob("*") if path.is_symlink()]
