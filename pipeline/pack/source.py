"""Read the user's files: every failure names the file and blames nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from ...storage.errors import ConfigError, FileChangedError
from ...storage.limits import MIB
from ..detect import SourceFile, stamp_of

MAX_ROW_BYTES = 64 * MIB  # of one text, or of one line: a row group of such rows still fits into memory
_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


def changed(path: Path) -> FileChangedError:
    """The file is not what it was a moment ago."""
    return FileChangedError(f"{path} changed while it was being read", hint="publish again when it is complete")


def check_unchanged(source: Path, file: SourceFile) -> None:
    """Raise `FileChangedError` unless a file below `source` is still the one that the scan saw."""
    path = source / file.name
    try:
        about = path.stat()
    except OSError as error:
        raise changed(path) from error
    if file.stamp is not None and stamp_of(about) != file.stamp:
        raise changed(path)


def open_plain(source: Path, file: SourceFile) -> AbstractContextManager[BinaryIO]:
    """The bytes of a file below `source` as they are; errors as of `open_source`."""
    return _opened(source / file.name, file.stamp, None)


def open_source(source: Path, file: SourceFile) -> AbstractContextManager[BinaryIO]:
    """The bytes of a file below `source`, decompressed by its suffix (.gz, .zst) in bounded memory.

    Arrow's streams, because they notice an end that comes too early, which zstandard's reader passes over in
    silence; their window is at most 128 MiB. Raises `ConfigError` for a file that cannot be read or is corrupt,
    `FileChangedError` for one that is not, from first to last, the one that the scan saw.
    """
    path = source / file.name
    return _opened(path, file.stamp, _COMPRESSION.get(path.suffix.lower()))


@contextmanager
def _opened(path: Path, stamp: bytes | None, compression: str | None) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            before = stamp_of(os.fstat(file.fileno()))
            if stamp not in (None, before):
                raise changed(path)
            if compression is None:
                yield file
            else:
                with pa.CompressedInputStream(pa.PythonFile(file, "r"), compression) as stream:
                    yield cast(BinaryIO, io.BufferedReader(stream, MIB))
        if stamp_of(path.stat()) != before:
            raise changed(path)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise ConfigError(f"{path} cannot be read: {reason}", hint="check the file and its permissions") from error


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number (from 1) and bytes of each line, with its end; None for a line above 64 MiB, which is read over."""
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) <= MAX_ROW_BYTES:
            yield number, line
            continue
        while not line.endswith(b"\n") and (line := file.readline(MIB)):
            pass
        yield number, None
