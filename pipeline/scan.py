"""Scan a source folder: which files there are, in one order on every machine. Reads names and sizes only."""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path

from ..storage.blocks.stamp import RACY_NS
from ..storage.errors import ConfigError
from .detect import SourceFile, stamp_of
from .skipped import Skipped, printable

_FOR_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH  # spares a system call for nearly every file
_KIND_AND_READERS, _REGULAR_FOR_ALL = 0o170000 | _FOR_ALL, stat.S_IFREG | _FOR_ALL


def scan(source: Path, skipped: Skipped) -> list[SourceFile]:
    """Every regular file below `source`, sorted bytewise by its relative POSIX path.

    Hidden files and folders are left out (IPIP-499) and symlinks not followed: these, special files and what
    cannot be read are named to `skipped`. Raises `ConfigError` when `source` is no readable folder.
    """
    if not source.exists():
        raise ConfigError(f"{source} does not exist", hint="name the folder to publish")
    if not source.is_dir():
        raise ConfigError(f"{source} is not a folder", hint="name the folder that holds the file")
    found: list[SourceFile] = []
    folders = [""]
    try:
        while folders:
            _scan_folder(source, folders.pop(), folders, found, skipped)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}", hint="check its permissions") from error
    if not found:
        named = skipped.named()
        hint = f"{skipped.count} left out; the first, {named[0][0]!r}: {named[0][1]}" if named else "put shards into it"
        raise ConfigError(f"{source} holds no file that can be published", hint=hint)
    return sorted(found)  # by name: texts sort as their UTF-8 does


def _scan_folder(source: Path, folder: str, folders: list[str], found: list[SourceFile], skipped: Skipped) -> None:
    below: list[str] = []
    with ExitStack() as stack:
        try:
            # by its descriptor, the kernel walks no path for each of its files: a fifth of the time of a scan
            fd = os.open(source / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            with os.scandir(fd) as listing:
                entries = sorted(listing, key=attrgetter("name"))
        except OSError as error:
            if not folder:
                raise
            skipped.add(folder, f"cannot be read: {error.strerror}")
            return
        _add_entries(entries, folder, fd, below, found, skipped)
    folders.extend(reversed(below))


def _add_entries(
    entries: list[os.DirEntry[str]],
    folder: str,
    fd: int,
    below: list[str],
    found: list[SourceFile],
    skipped: Skipped,
) -> None:
    settled_ns = time.time_ns() - RACY_NS
    prefix = f"{folder}/" if folder else ""
    for entry in entries:
        name = prefix + entry.name
        about = entry.stat(follow_symlinks=False)
        mode = about.st_mode
        usual = mode & _KIND_AND_READERS == _REGULAR_FOR_ALL and name.isascii() and entry.name[0] != "."
        if not usual and (reason := _reason(name, fd, entry.name, mode)):
            skipped.add(name, reason)
        elif stat.S_ISDIR(mode):
            below.append(name)
        else:
            old = about.st_mtime_ns < settled_ns and about.st_ctime_ns < settled_ns
            found.append(SourceFile(name, about.st_size, stamp_of(about) if old else None))


def _reason(name: str, folder: int, last: str, mode: int) -> str:
    """Why an entry is left out; empty for folders and for files that can be published."""
    if printable(name) != name:
        return "its name is not UTF-8"
    if last.startswith("."):
        return "hidden"
    if stat.S_ISLNK(mode):
        return "a symbolic link, not followed"
    if stat.S_ISDIR(mode):
        return ""
    if not stat.S_ISREG(mode):
        return "not a regular file"
    return "" if os.access(last, os.R_OK, dir_fd=folder) else "cannot be read: permission denied"
