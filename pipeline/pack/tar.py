"""Pack loose files into tars: the same bytes for the same files, on every machine.

POSIX ustar headers, and a pax header before a name or size that ustar cannot say. Nobody's owner, mode 0644, time 0.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from ...storage.blocks.verified_file import disk_error
from ...storage.errors import ConfigError
from ...storage.limits import MIB
from ...storage.shards.tar import BLOCK, split_name
from ..detect import SourceFile
from .source import changed

WRITER_VERSION = "tar-1"  # changes whenever the same files would give other bytes
END = bytes(2 * BLOCK)
_MAX_OCTAL = 8**11 - 1  # 8 GiB


def plan_tars(files: Iterable[SourceFile], shard_size: int) -> Iterator[tuple[SourceFile, ...]]:
    """The files of each tar: whole samples, as many as fit into `shard_size` bytes, at least one. Pure."""
    shard: list[SourceFile] = []
    used = len(END)
    for _, members in groupby(files, key=_key):
        sample = list(members)
        size = sum(len(header(file.name, file.size)) + _padded(file.size) for file in sample)
        if shard and used + size > shard_size:
            yield tuple(shard)
            shard, used = [], len(END)
        shard += sample
        used += size
    if shard:
        yield tuple(shard)


def pack_tars(
    source: Path,
    files: Iterable[SourceFile],
    shard_size: int,
    workers: int | None,
    new_file: Callable[[str], Path],
    on_bytes: Callable[[int], None],
) -> Iterator[Path]:
    """Write the tars, several at a time; yields them in order. Files of one sample follow each other."""
    count = workers or os.cpu_count() or 1
    pending: deque[tuple[Future[Path], int]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="pack")

    def take() -> Path:
        future, size = pending.popleft()
        path = future.result()
        on_bytes(size)
        return path

    try:
        for shard in plan_tars(files, shard_size):
            pending.append((pool.submit(write_tar, source, shard, new_file(".tar")), sum(f.size for f in shard)))
            if len(pending) > count:
                yield take()
        while pending:
            yield take()
    finally:
        pool.shutdown(cancel_futures=True)


def write_tar(source: Path, files: Iterable[SourceFile], path: Path) -> Path:
    """Write one tar, durably. Raises `FileChangedError` for a file that has not the size that was planned."""
    try:
        with path.open("xb", buffering=MIB) as out:
            for file in files:
                out.write(header(file.name, file.size))
                _copy(source / file.name, file.size, out)
                out.write(bytes(_padded(file.size) - file.size))
            out.write(END)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise disk_error(error, path) from error
    return path


def header(name: str, size: int) -> bytes:
    """What precedes the bytes of a member."""
    encoded = name.encode()
    prefix, short = _split(encoded)
    records = b""
    if short is None:
        records += _record(b"path", encoded)
        prefix, short = b"", encoded[-100:]
    if size > _MAX_OCTAL:
        records += _record(b"size", str(size).encode())
    pax = b""
    if records:
        pax = _block(b"././@PaxHeader", b"", len(records), b"x") + records.ljust(_padded(len(records)), b"\0")
    return pax + _block(short, prefix, min(size, _MAX_OCTAL), b"0")


def _block(name: bytes, prefix: bytes, size: int, kind: bytes) -> bytes:
    fields = [
        name.ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"%011o\0" % 0,
        b" " * 8, kind, bytes(100), b"ustar\x0000", bytes(64), b"0000000\0", b"0000000\0", prefix.ljust(155, b"\0"),
    ]  # fmt: skip
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """Prefix and name as ustar stores them; no name when it cannot (too long, or not ASCII)."""
    if not name.isascii():
        return b"", None
    if len(name) <= 100:
        return b"", name
    cut = name.find(b"/", len(name) - 101)
    return (name[:cut], name[cut + 1 :]) if 0 < cut <= 155 and cut + 1 < len(name) else (b"", None)


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return str(length).encode() + body


def _copy(path: Path, size: int, out: BinaryIO) -> None:
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
    with file:
        left = size
        while left:
            try:
                data = file.read(min(left, MIB))
            except OSError as error:
                raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check the disk") from error
            if not data:
                raise changed(path)
            out.write(data)
            left -= len(data)
        if os.fstat(file.fileno()).st_size != size:
            raise changed(path)


def _key(file: SourceFile) -> str:
    parts = split_name(file.name)
    return parts[0] if parts else file.name


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
