"""A CAR file of a small tree, and repositories that have it, or a part of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.blocks.car_file import CarSummary, export_car, import_car
from holdfast.storage.blocks.disk import DiskStore
from support.car_imports import FILES, Counted, files_of_store, killed
from support.running_node import publish_folder


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture(params=[1, 2])
def car(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with DiskStore(tmp_path / "origin").open() as store:
        root = publish_folder(store, tmp_path / "src", FILES)
        export_car(store, root, tmp_path / "x.car", version=request.param)
    (tmp_path / "root").write_text(str(root))
    time.sleep(0.03)  # older than a tick: a change would show in its stamp
    return tmp_path / "x.car"


@pytest.fixture
def whole(tmp_path: Path, car: Path) -> tuple[CarSummary, dict[str, bytes]]:
    """What an uninterrupted import reports and leaves."""
    with DiskStore(tmp_path / "whole").open() as store:
        return import_car(store, car), files_of_store(store)


@pytest.fixture
def repo(tmp_path: Path, car: Path) -> Iterator[DiskStore]:
    """A repository with an import that was killed in the middle."""
    killed(tmp_path / "repo", car)
    with DiskStore(tmp_path / "repo").open() as store:
        yield store
