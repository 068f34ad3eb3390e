"""What may be on disk after a power cut: every state that POSIX allows, from a record of what a writer did.

The idea is ALICE's (OSDI '14). Data that was not synced may be there in part, as zeros, or not at all; names that were
made, replaced or removed since their folder was last synced are there in any combination. What was synced is there.
"""

from __future__ import annotations

import builtins
import io
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_MAX_OPEN_NAMES = 10  # changes of names that no folder was synced after: 2^10 combinations


@dataclass
class _Inode:
    """A file: what a power cut may leave of it. The last one is what the writer sees."""

    contents: list[bytes] = field(default_factory=lambda: [b""])

    def write(self, at: int, data: bytes) -> None:
        before = self.contents[-1].ljust(at, b"\0")
        after = before[:at] + data + before[at + len(data) :]
        half = before[:at] + data[: len(data) // 2] + before[at + len(data) // 2 :]
        zeros = before[:at] + bytes(len(data)) + before[at + len(data) :]
        self.contents += [half, zeros, after]

    def sync(self) -> None:
        self.contents = self.contents[-1:]


@dataclass(frozen=True)
class _Change:
    """A name in a folder: to which file, or None for removed. `moved_from`: the name that a rename took away."""

    name: str
    inode: int | None
    moved_from: str = ""


class Recorder:
    """Watches writers below `folder`; `states` is asked at any time, or `each` hears after every step."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._inodes: dict[int, _Inode] = {}
        self._synced: dict[str, int] = {}  # names that will be there
        self._open: list[_Change] = []
        self.steps: list[tuple[dict[int, list[bytes]], dict[str, int], list[_Change]]] = []
        self.acknowledged = 0
        self._snapshot()

    def _snapshot(self) -> None:
        contents = {number: list(inode.contents) for number, inode in self._inodes.items()}
        self.steps.append((contents, dict(self._synced), list(self._open)))

    def _step(self) -> None:
        assert len(self._open) <= _MAX_OPEN_NAMES
        self._snapshot()

    def _name(self, path: Any) -> str:
        return os.path.relpath(os.fspath(path), self.folder)

    def _ours(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.folder + os.sep)

    @contextmanager
    def on(self) -> Iterator[Recorder]:
        """Record what happens inside."""
        files: dict[int, int] = {}  # descriptors of files of ours → inode
        folders: dict[int, str] = {}
        current: dict[int, int] = {}  # the system's number of a file, which it gives again → ours
        real_open, real_fsync, real_replace, real_unlink = os.open, os.fsync, os.replace, os.unlink
        real_io, real_close = io.open, os.close

        def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            file = real_io(path, mode, *arguments, **options)
            if not (self._ours(path) and any(letter in mode for letter in "wx")):
                return file
            number = current[os.fstat(file.fileno()).st_ino] = len(self._inodes)
            self._inodes[number] = _Inode()
            files[file.fileno()] = number
            self._open.append(_Change(self._name(path), number))
            self._step()
            return _Watched(file, self._inodes[number], self._step)

        def os_open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            fd = real_open(path, flags, *arguments, **options)
            if flags & os.O_DIRECTORY and (self._ours(path) or os.fspath(path) == self.folder):
                folders[fd] = self._name(path)
            return fd

        def fsync(fd: int) -> None:
            real_fsync(fd)
            if fd in folders:
                self._sync_folder(folders[fd])
            elif fd in files:
                self._inodes[files[fd]].sync()
            self._step()

        def close(fd: int) -> None:
            folders.pop(fd, None)
            real_close(fd)

        def replace(source: Any, target: Any, **options: Any) -> None:
            number = current[Path(source).stat().st_ino]
            real_replace(source, target, **options)
            if self._ours(target):
                self._open.append(_Change(self._name(target), number, self._name(source)))
                self._step()

        def unlink(path: Any, **options: Any) -> None:
            real_unlink(path, **options)
            if self._ours(path):
                self._open.append(_Change(self._name(path), None))
                self._step()

        with pytest.MonkeyPatch.context() as patch:
            for module in (io, builtins):
                patch.setattr(module, "open", opened)
            for name, stand_in in (
                ("open", os_open), ("fsync", fsync), ("close", close), ("replace", replace), ("unlink", unlink)
            ):  # fmt: skip
                patch.setattr(os, name, stand_in)
            yield self

    def _sync_folder(self, folder: str) -> None:
        left = []
        for change in self._open:
            if str(Path(change.name).parent) == folder:
                _apply(self._synced, change)
            else:
                left.append(change)
        self._open = left

    def states(self) -> Iterator[tuple[int, dict[str, bytes]]]:
        """(step, files by name): what a cut after each step may leave, each state once a step."""
        for number, (contents, synced, changes) in enumerate(self.steps):
            seen = set()
            for chosen in itertools.product((False, True), repeat=len(changes)):
                names = dict(synced)
                for change in itertools.compress(changes, chosen):
                    _apply(names, change)
                there = sorted(set(names.values()))
                for picked in itertools.product(*(sorted(set(contents[inode])) for inode in there)):
                    data = dict(zip(there, picked, strict=True))
                    state = {name: data[inode] for name, inode in names.items()}
                    key = tuple(sorted(state.items()))
                    if key not in seen:
                        seen.add(key)
                        yield number, state


def _apply(names: dict[str, int], change: _Change) -> None:
    if change.inode is None:
        names.pop(change.name, None)
        return
    names[change.name] = change.inode
    if change.moved_from:
        names.pop(change.moved_from, None)


class _Watched:
    """A file whose writes are recorded when they reach the system: at a flush, or at the end."""

    def __init__(self, file: Any, inode: _Inode, step: Any) -> None:
        self._file, self._inode, self._step = file, inode, step
        self._pending: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        self._pending.append((self._file.tell(), bytes(data)))
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()
        for at, data in self._pending:
            self._inode.write(at, data)
            self._step()
        self._pending.clear()

    def close(self) -> None:
        self.flush()
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def put_back(folder: Path, state: dict[str, bytes]) -> None:
    """Make `folder` hold this state and nothing else."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for name, data in state.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
