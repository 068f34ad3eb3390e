"""Pack loose files into tars: the same bytes for the same files, on every machine.

POSIX ustar headers, and a pax header before a name or size that ustar cannot say. Nobody's owner, mode 0644, time 0.
"""

from __future__ import annotations

import errno
import os
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore
from typing import BinaryIO

from ...storage.blocks.atomic import sync_file
from ...storage.blocks.stamp import Stamp
from ...storage.blocks.verified_file import disk_error
from ...storage.errors import ConfigError
from ...storage.limits import MIB
from ...storage.shards.tar import BLOCK, split_name
from ..detect import SourceFile, stamp_of
from ..facts import MAX_COLUMNS, Facts
from ..skipped import printable
from .cuts import Cuts, priority
from .packed import Lookup, Packed, shard_key
from .source import changed

WRITER_VERSION = "tar-2"  # changes whenever the same files would give other bytes
END = bytes(2 * BLOCK)
_ZEROS = bytes(BLOCK)
_SMALL_BYTES = 64 << 10  # smaller files on average are opened, read and closed by one thread: two wait for the GIL, and
# pack 200,000 files of 2 KB in 8 s instead of 3
_MAX_OCTAL = 8**11 - 1  # 8 GiB


def plan_tars(files: Sequence[SourceFile], shard_size: int) -> Iterator[Sequence[SourceFile]]:
    """The files of each tar: whole samples, cut by their keys, at most `shard_size` bytes or one sample. Pure."""
    cuts: Cuts[int] = Cuts(shard_size - len(END))
    begin = first = size = 0
    last = _key(files[0]) if files else ""
    for number, file in enumerate(files):
        key = _key(file)
        if key != last:
            cuts.add(size, priority(last.encode()), first)
            while cuts.found:
                _, cut = cuts.found.popleft()
                yield files[begin:cut]
                begin = cut
            first, size, last = number, 0, key
        size += _head_size(file) + _padded(file.size)
    if files:
        cuts.add(size, priority(last.encode()), first)
        cuts.finish()
        for cut in [*(cut for _, cut in cuts.found), len(files)]:
            yield files[begin:cut]
            begin = cut


def pack_tars(
    source: Path,
    files: Iterable[SourceFile],
    shard_size: int,
    workers: int | None,
    new_file: Callable[[str], Path],
    on_bytes: Callable[[int], None],
    lookup: Lookup = lambda _: None,
) -> Iterator[Packed]:
    """Write the tars, several at a time; yields them in order. Files of one sample follow each other.

    Those that `lookup` knows by their key are not written again, and their files not read.
    """
    files = tuple(files)
    count = workers or os.cpu_count() or 1
    if sum(file.size for file in files) < _SMALL_BYTES * len(files):
        count = 1
    pending: deque[tuple[Future[Packed], int]] = deque()
    pool = ThreadPoolExecutor(
        count + 1, thread_name_prefix="pack"
    )  # one more: while a tar is synced the next is written
    writing = BoundedSemaphore(count)

    def make(shard: Sequence[SourceFile]) -> Packed:
        key = shard_key(source, shard, WRITER_VERSION)
        known = lookup(key) if key is not None else None
        if known is not None:
            return known
        path = new_file(".tar")
        with writing:
            facts = write_tar(source, shard, path)
        try:
            sync_file(path)
        except OSError as error:
            raise disk_error(error, path) from error
        return Packed(path, key, facts=facts)

    def take() -> Packed:
        future, size = pending.popleft()
        packed = future.result()
        on_bytes(size)
        return packed

    try:
        for shard in plan_tars(files, shard_size):
            pending.append((pool.submit(make, shard), sum(f.size for f in shard)))
            if len(pending) > count:
                yield take()
        while pending:
            yield take()
    finally:
        pool.shutdown(cancel_futures=True)


def write_tar(source: Path, files: Iterable[SourceFile], path: Path) -> Facts:
    """Write one tar; returns what `describe` would find in it.

    Raises `FileChangedError` for a file that is not, or does not stay, as the scan saw it.
    """
    index, at, last = array("Q"), 0, ""
    columns: dict[str, str] = {}
    try:
        with path.open("xb", buffering=MIB) as out, _Folder(source) as folder:
            for file in files:
                key, extension = split_name(file.name) or (file.name, "")
                if key != last:
                    index.append(at)
                    last = key
                if extension not in columns and len(columns) < MAX_COLUMNS:
                    columns[printable(extension)] = "bytes"
                head = header(file.name, file.size)
                out.write(head)
                _copy(folder, file, out)
                padded = _padded(file.size)
                if padded != file.size:
                    out.write(_ZEROS[: padded - file.size])
                at += len(head) + padded
            index.append(at)
            out.write(END)
            out.flush()
            stamp = Stamp.of(out.fileno())
    except OSError as error:
        raise disk_error(error, path) from error
    if sys.byteorder == "big":
        index.byteswap()
    return Facts(stamp, len(index) - 1, columns, index.tobytes())


def header(name: str, size: int) -> bytes:
    """What precedes the bytes of a member."""
    encoded = name.encode()
    if len(encoded) <= 100 and size <= _MAX_OCTAL and name.isascii():  # nearly always: a template and its checksum
        digits = b"%011o" % size
        total = _TEMPLATE_SUM + sum(encoded) + sum(digits)
        return b"%s%s%s%s%06o%s" % (encoded.ljust(100, b"\0"), _TEMPLATE[0], digits, _TEMPLATE[1], total, _TEMPLATE[2])
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


def _template() -> tuple[int, tuple[bytes, bytes, bytes]]:
    """Checksum of a header without name and size, and what lies before the size, behind it, and behind the checksum."""
    block = _block(b"", b"", 0, b"0")
    blank = block[:124] + bytes(11) + block[135:148] + b" " * 8 + block[156:]
    return sum(blank), (block[100:124], block[135:148], block[154:])


_TEMPLATE_SUM, _TEMPLATE = _template()


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


class _Folder:
    """Opens files below `source`: where several follow each other in one folder, by its descriptor, so that the kernel
    walks no path for each. A folder that is renamed meanwhile is read to its end: its files are those of the scan.
    """

    def __init__(self, source: Path) -> None:
        self._source, self._root = source, f"{source}/"
        self._name: str | None = None
        self._fd = -1

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self._source / name

    def open(self, name: str) -> int:
        """A descriptor of its bytes. Raises `ConfigError`."""
        folder, _, last = name.rpartition("/")
        try:
            if folder != self._name:
                if self._fd >= 0:
                    os.close(self._fd)
                self._name, self._fd = folder, -1
                return os.open(self._root + name, os.O_RDONLY | os.O_CLOEXEC)
            if self._fd < 0:
                self._fd = os.open(self._root + folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            return os.open(last, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
        except OSError as error:
            full = error.errno in (errno.EMFILE, errno.ENFILE)
            hint = "raise the limit of open files (ulimit -n)" if full else "check its permissions"
            raise ConfigError(f"{self.path(name)} cannot be read: {error.strerror}", hint=hint) from error


def _copy(folder: _Folder, file: SourceFile, out: BinaryIO) -> None:
    """The bytes of a file, which must be, from first to last, the one that the scan saw."""
    fd = folder.open(file.name)
    try:
        stamp = file.stamp or stamp_of(os.fstat(fd))
        left = size = file.size
        while True:
            try:
                data = os.read(fd, min(left + 1, MIB))  # one more than there should be: a file that grew is seen
            except OSError as error:
                where = folder.path(file.name)
                raise ConfigError(f"{where} cannot be read: {error.strerror}", hint="check the disk") from error
            left -= len(data)
            if left < 0 or (not data and left):
                raise changed(folder.path(file.name))
            out.write(data)
            if not left and (size < MIB or not data):
                break
        if stamp_of(os.fstat(fd)) != stamp:  # rewritten at the same size: what was read may be half and half
            raise changed(folder.path(file.name))
    finally:
        os.close(fd)


def _key(file: SourceFile) -> str:
    parts = split_name(file.name)
    return parts[0] if parts else file.name


def _head_size(file: SourceFile) -> int:
    if len(file.name) <= 100 and file.size <= _MAX_OCTAL and file.name.isascii():
        return BLOCK
    return len(header(file.name, file.size))


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
