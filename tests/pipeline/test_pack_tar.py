"""Loose files that change while they are packed: never half of one version and half of another."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from holdfast.pipeline.pack.tar import write_tar
from holdfast.pipeline.scan import scan
from holdfast.pipeline.skipped import Skipped
from holdfast.storage.errors import FileChangedError

SIZE = 3 << 20


@pytest.mark.parametrize("young", [False, True])
def test_a_file_rewritten_at_the_same_size_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, young: bool
) -> None:
    path = tmp_path / "src/a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"1" * SIZE)
    time.sleep(0.03)
    files = [file._replace(stamp=None if young else file.stamp) for file in scan(path.parent, Skipped())]
    assert all(file.stamp is None for file in files) is young
    read, reads = os.read, []

    def read_and_rewrite(fd: int, count: int) -> bytes:
        data = read(fd, count)
        reads.append(len(data))
        if len(reads) == 1:
            with path.open("r+b") as file:
                file.write(b"2" * SIZE)
        return data

    monkeypatch.setattr(os, "read", read_and_rewrite)
    with pytest.raises(FileChangedError, match=r"a\.jpg changed while it was being read"):
        write_tar(path.parent, files, tmp_path / "out.tar")
    assert len(reads) > 1


@pytest.mark.parametrize("how", ["in place", "by rename"])
def test_a_file_rewritten_since_the_scan_is_named(tmp_path: Path, how: str) -> None:
    path = tmp_path / "src/a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"1" * 100)
    about = path.stat()
    time.sleep(0.03)
    files = scan(path.parent, Skipped())
    if how == "in place":
        path.write_bytes(b"2" * 100)
    else:
        other = tmp_path / "other"
        other.write_bytes(b"2" * 100)
        other.replace(path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.raises(FileChangedError, match=r"a\.jpg"):
        write_tar(path.parent, files, tmp_path / "out.tar")
