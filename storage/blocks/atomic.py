"""Whole files, written so that a reader sees all of one or nothing."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from .verified_file import disk_error


def write_atomic(path: Path, data: bytes, *, durable: bool = True, beside: Path | None = None) -> None:
    """Temporary file beside it, fsync, rename, fsync of the folder. Raises `StoreError` or `DiskFullError`.

    `durable=False` leaves out both fsyncs, for files whose name commits to their content. A kill leaves the temporary
    file; `beside` is another folder of the same file system for it, where nobody minds.
    """
    temporary = (beside or path.parent) / f".{path.name[:100]}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_error(error, path) from error


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
