"""No test sees the user's folders, rosters or proxies."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("holdfast", deadline=None)  # machines are shared: no test fails for being slow
settings.load_profile("holdfast")


@pytest.fixture(autouse=True, scope="session")
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    saved = dict(os.environ)
    for name in list(os.environ):
        if name.startswith("HOLDFAST_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        os.environ[name] = str(home / name)
    os.environ["HOME"] = str(home)
    config = home / "XDG_CONFIG_HOME/holdfast/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[cache]\nfetcher_linger = "0.2s"\n')  # tests wait for fetchers to end
    yield
    os.environ.clear()
    os.environ.update(saved)


@pytest.fixture(autouse=True, scope="session")
def _forkserver_ends() -> Iterator[None]:
    """It ends a moment after its parent, with all of torch in it; whoever looks for what is left would find it."""
    yield
    stop = getattr(forkserver._forkserver, "_stop", None)  # type: ignore[attr-defined]
    if stop is not None:
        stop()


def _engines() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith(("holdfast-fetch", "holdfast-tick"))}


@pytest.fixture(autouse=True)
def _no_engine_left() -> Iterator[None]:
    """An engine that a test leaves running disturbs the next one, and would leak in a user's program too."""
    before = _engines()
    yield
    if _engines() - before:
        gc.collect()  # a traceback may hold the dataset in a cycle
        left = [thread.name for thread in _engines() - before]
        assert not left, f"still running: {left}"


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """A small tree of text."""
    for number in range(60):
        path = tmp_path / "corpus" / f"d{number % 5}" / f"f{number:03d}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# file {number}\n" + "\n".join(f"x{number}_{line} = {line}" for line in range(200)))
    return tmp_path / "corpus"
