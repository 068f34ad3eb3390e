"""Several `get` into one folder."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from holdfast.storage.fetch.mirror_folder import MirrorFolder


def test_one_that_ends_while_another_begins_leaves_it_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, first = fcntl.flock, MirrorFolder(tmp_path / "copy").open_folder()

    def late(fd: int, how: int) -> Any:
        monkeypatch.setattr(fcntl, "flock", lock)
        first.close()  # between the opening of the lock and the locking of it
        assert not (tmp_path / "copy" / ".holdfast" / "partial").exists()
        return lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    second = MirrorFolder(tmp_path / "copy").open_folder()
    assert (tmp_path / "copy" / ".holdfast" / "partial" / "lock").exists()
    third = MirrorFolder(tmp_path / "copy").open_folder()
    third.close()
    assert (tmp_path / "copy" / ".holdfast" / "partial" / "lock").exists(), "the second one is still at it"
    second.close()
    assert not (tmp_path / "copy" / ".holdfast" / "partial").exists()
