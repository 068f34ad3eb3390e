"""Scan a source folder: which files there are, in one order on every machine. Reads names and sizes only."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from ..storage.blocks.stamp import RACY_NS
from ..storage.errors import ConfigError
from .detect import SourceFile, stamp_of
from .skipped import Skipped, printable

_FOR_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH  # spares a system call for nearly every file


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
    return sorted(found, key=lambda file: file.name.encode())


def _scan_folder(source: Path, folder: str, folders: list[str], found: list[SourceFile], skipped: Skipped) -> None:
    try:
        with os.scandir(source / folder) as listing:
            entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        if not folder:
            raise
        skipped.add(folder, f"cannot be read: {error.strerror}")
        return
    below: list[str] = []
    settled_ns = time.time_ns() - RACY_NS
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        about = entry.stat(follow_symlinks=False)
        if printable(name) != name:
            skipped.add(name, "its name is not UTF-8")
        elif entry.name.startswith("."):
            skipped.add(name, "hidden")
        elif stat.S_ISLNK(about.st_mode):
            skipped.add(name, "a symbolic link, not followed")
        elif stat.S_ISDIR(about.st_mode):
            below.append(name)
        elif not stat.S_ISREG(about.st_mode):
            skipped.add(name, "not a regular file")
        elif about.st_mode & _FOR_ALL != _FOR_ALL and not os.access(entry.path, os.R_OK):
            skipped.add(name, "cannot be read: permission denied")
        else:
            old = about.st_mtime_ns < settled_ns and about.st_ctime_ns < settled_ns
            stamp = stamp_of(about) if old else None
            found.append(SourceFile(name, about.st_size, stamp))
    folders.extend(reversed(below))
