"""Disks that are full: a shim that says so at the i-th write below a folder, and a real file system that is small."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """Counts what takes room below `folder`; number `at` fails with ENOSPC, and all later ones if it `stays` full.

    What takes room: creating a file or a folder, `pwrite`, `posix_fallocate`, and each `write` of a file opened for
    writing. SQLite writes by itself and is not seen: the small file system is for that.
    """

    def __init__(self, folder: Path, at: int, *, stays: bool) -> None:
        self.folder, self.at, self.stays = str(folder), at, stays
        self.count = self.refused = 0

    def _step(self) -> None:
        number = self.count
        self.count += 1
        if number == self.at or (self.stays and number > self.at):
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _below(self, place: Any) -> bool:
        if isinstance(place, int):
            place = Path(f"/proc/self/fd/{place}").readlink()
        return isinstance(place, (str, os.PathLike)) and os.fspath(place).startswith(self.folder)

    @contextmanager
    def on(self) -> Iterator[FullDisk]:
        """Put the shim in place."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "open", self._opening(os.open))
            for name in ("pwrite", "posix_fallocate", "mkdir"):
                patch.setattr(os, name, self._taking(getattr(os, name)))
            for module in (io, builtins):
                patch.setattr(module, "open", self._file(io.open))
            yield self

    def _taking(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *arguments: Any, **options: Any) -> Any:
            if self._below(place) and (isinstance(place, int) or not os.path.lexists(place)):
                self._step()
            return real(place, *arguments, **options)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, flags: int, *arguments: Any, **options: Any) -> Any:
            if flags & os.O_CREAT and self._below(place) and not os.path.lexists(place):
                self._step()
            return real(place, flags, *arguments, **options)

        return call

    def _file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            ours = any(letter in mode for letter in "wax+") and not isinstance(place, int) and self._below(place)
            if ours:
                self._step()
            file = real(place, mode, *arguments, **options)
            return _Counting(file, self._step) if ours else file

        return call


class _Counting:
    """A file whose `write` asks first."""

    def __init__(self, file: Any, step: Callable[[], None]) -> None:
        self._file, self._step = file, step

    def write(self, data: Any) -> Any:
        self._step()
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Counting:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def small_disk(folder: Path, size: int) -> list[str]:
    """What to put before a command, so that `folder` is a file system of `size` bytes there. Skips where forbidden."""
    folder.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
               f'mount -t tmpfs -o size={size} holdfast "{folder}" && exec "$@"', "sh"]  # fmt: skip
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs in a namespace of their own")
    return command
