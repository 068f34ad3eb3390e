"""One attacked process for each test file: starting Python for every attack would cost more than the attacks."""

from collections.abc import Iterator

import pytest

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
