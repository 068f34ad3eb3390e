"""CAR files and a repository: a DAG out of it, deterministically; blocks into it, each hashed."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..cid import CID, DAG_PB, RAW, SHA2_256_PREFIX
from ..dag import carv2, walk
from ..dag.car import CarBlock, CarReader, encode_header, section_head
from ..dag.order import links_order
from ..errors import BlockMissingError, ConfigError, FormatError, HashMismatchError, HoldfastError, StoreError
from .atomic import sync_folder
from .block import Block
from .car_resume import Resume, car_name, holding, source_of
from .car_spool import Spool
from .catalog import FileRow
from .disk import DiskStore, OpenFile
from .lease import lease
from .verified_file import disk_error

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CarSummary:
    """What was written or read. `missing`: the first block that a root leads to and that is nowhere, if any."""

    roots: tuple[CID, ...]
    blocks: int
    bytes: int
    missing: CID | None = None


def export_car(store: DiskStore, root: CID, path: Path, *, version: int = 1) -> CarSummary:
    """Write the whole DAG of `root` as a CAR, depth first, each block once: the same bytes every time.

    `version` 2 puts the CARv1 into a CARv2 with an index of every block (`MultihashIndexSorted`). Written beside
    `path` and renamed at the end. Raises `BlockMissingError`, `FileChangedError`, `StoreError`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    index = carv2.IndexWriter() if version == 2 else None
    blocks = 0
    try:
        with temporary.open("wb") as out:
            if index is not None:
                out.write(bytes(carv2.FIRST))  # the size of the data is known at the end
            written = out.write(encode_header([root]))
            for block in _dag(store, root):
                if index is not None:
                    index.add(block.cid, written)
                written += out.write(section_head(block.cid, len(block.data)))
                written += out.write(block.data)
                blocks += 1
            if index is not None:
                size = out.tell() + out.write(index.encode())
                out.seek(0)
                out.write(carv2.encode_head(written))
                written = size
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    return CarSummary((root,), blocks, written)


def cars(store: DiskStore, roots: Sequence[CID], count: int, there: Container[CID] = ()) -> list[Iterator[bytes]]:
    """DAGs as `count` CARs (version 1, named by the first root) that together hold each block once, piece by piece.

    But for what is below the CIDs of `there`, and these themselves: whoever is sent it has them.

    For several who send at once, each from a thread of its own, to somebody who hashes every block: so leaves of files
    that are as they were when they were hashed are not hashed once more, 0.5 s a GB. Which block goes into which CAR
    depends on who is first. Raises as `export_car` does, in each that is read on.
    """
    walking = _SharedWalk(store, roots, there)
    return [walking.sections() for _ in range(count)]


class _SharedWalk:
    """The blocks of DAGs, one after the other, given out to several threads, each block once."""

    def __init__(self, store: DiskStore, roots: Sequence[CID], there: Container[CID]) -> None:
        self._store, self._roots, self._there = store, roots, there
        self._steps = links_order(roots[0], roots)  # what several share comes once
        self._began, self._last = False, b""
        self._error: HoldfastError | None = None
        self._lock = threading.Lock()

    def sections(self) -> Iterator[bytes]:
        yield encode_header(self._roots[:1])
        while (found := self._next()) is not None:
            cid, data = found
            if data is None:  # a leaf: read by this thread, beside the others
                data = self._store.peek(cid)
                data = self._store.get(cid).data if data is None else data
            yield section_head(cid, len(data))
            yield data

    def _next(self) -> tuple[CID, bytes | None] | None:
        with self._lock:
            if self._error is not None:
                raise self._error
            try:
                cid = next(self._steps) if not self._began else self._steps.send(self._last)
                while cid in self._there and cid.codec in (RAW, DAG_PB):  # an empty block of others cannot be read
                    cid = self._steps.send(b"")  # as if nothing were below it
            except StopIteration:
                return None
            self._began = True
            try:
                data = None if cid.codec == RAW else self._store.get(cid).data
            except HoldfastError as error:  # nobody knows what comes below it
                self._error = error
                raise
            self._last = data or b""
            return cid, data


def _dag(store: DiskStore, root: CID) -> Iterator[Block]:
    steps = walk.dag_order(root, "all")
    cid = next(steps, None)
    while cid is not None:
        block = store.get(cid)
        yield block
        try:
            cid = steps.send(b"" if cid.codec == RAW else block.data)
        except StopIteration:
            return


def import_car(store: DiskStore, path: Path, stream: BinaryIO | None = None) -> CarSummary:
    """Copy a CAR into the repository and refer to its blocks, each hashed on the way.

    It is read once, from beginning to end: `path` may be a pipe, or the name for `stream`. The copy is a CARv1 of the
    same blocks in the same order, named by them: importing it again keeps one. Until the end it is `files/*.part`,
    and none of its blocks is visible. After a kill the import of a file goes on where it was (see `car_resume`); that
    of a pipe or a `stream` starts over. Raises `ConfigError` (no such file, or unreadable), `FormatError` (cut or
    malformed) or `HashMismatchError`, with file and byte, and `StoreError` for our own disk; nothing is kept then.
    """
    with (
        lease(store.folder, "import"),
        nullcontext(stream) if stream is not None else _opened(path) as source,
    ):
        resume = Resume(store, path, source_of(source.fileno()) if stream is None else ())
        try:
            with resume.alone():
                roots, spool, read = _read(source, path, resume)
                _take(store, spool, roots)
        except (FormatError, HashMismatchError) as error:
            raise _named(error, path) from error
        except OSError as error:
            raise disk_error(error, store.files_folder) from error
    missing = next((cid for root in roots if (cid := first_missing(store, root)) is not None), None)
    return CarSummary(roots, len(spool.sections), read, missing)


def look(path: Path) -> None:
    """Raise what `import_car` would for no file, and for what is no CAR by its header. Pipes are not looked at."""
    if path.exists() and not path.is_file() and not path.is_dir():
        return
    with _opened(path) as source:
        try:
            _roots(CarReader(source), path)
        except FormatError as error:
            raise _named(error, path) from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)  # only the header is read so
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Nothing but reading of the source goes in here: what fails is the user's disk, or share, and not ours."""
    try:
        yield
    except OSError as error:
        hint = "check the disk or the share that it is on, or get the CAR again"
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error


def _named(error: FormatError | HashMismatchError, path: Path) -> FormatError | HashMismatchError:
    hint = error.hint or "get the CAR again: nothing of it was kept"
    return type(error)(f"{path}: {error.message}", hint=hint)


def _roots(reader: CarReader, path: Path) -> tuple[CID, ...]:
    with _reading(path):
        if not reader.roots:
            raise FormatError("the CAR names no root", hint="export it with the root that it is for")
        return reader.roots


def _sections(reader: CarReader, path: Path) -> Iterator[CarBlock]:
    with _reading(path):  # what the caller does between two sections raises there and not here
        yield from reader.sections()


def _read(source: BinaryIO, path: Path, resume: Resume) -> tuple[tuple[CID, ...], Spool, int]:
    """Roots, the copy, synced, and the bytes of the source."""
    reader = CarReader(source)
    roots = _roots(reader, path)
    spool, mark = resume.spool(roots)
    if mark is not None and mark.whole:
        return roots, spool, mark.read
    if mark is not None:
        source.seek(mark.read)
    with _in_large_pieces(source) as rest:
        reader.go_on(rest, mark.read if mark is not None else reader.at)
        for section in _sections(reader, path):
            spool.add(section.block.cid, section.block.data)
            resume.note_in_time(spool, reader.at)
    resume.note_end(spool, reader.at)
    return roots, spool, reader.at


@contextmanager
def _in_large_pieces(source: BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(source, io.RawIOBase):  # somebody else's stream
        yield source
        return
    buffered = io.BufferedReader(source, _BUFFER_BYTES)
    try:
        yield buffered
    finally:
        buffered.detach()


def _take(store: DiskStore, spool: Spool, roots: tuple[CID, ...]) -> None:
    """Make the blocks visible: those that the leaf index cannot name as files of their own, the others in the copy.

    All under the sweep lock: a gc that has looked at the file of this name must not remove the one that we put there.
    And one at a time for each name: the stamp in the catalogue must be that of the file.
    """
    with holding(store, bytes.fromhex(spool.heads), wait=True), store.sweep.shared():
        _adopt(store, spool, roots)


def _adopt(store: DiskStore, spool: Spool, roots: tuple[CID, ...]) -> None:
    with spool.path.open("rb") as copy:
        for cid, offset, length in spool.sections:
            if cid.multihash[:2] != SHA2_256_PREFIX:
                copy.seek(offset)
                try:
                    store.put(cid, copy.read(length))
                except HashMismatchError as error:
                    raise _rotten(spool) from error
    target = store.files_folder / car_name(spool.heads)
    row = store.catalog.file_at(target)
    if row is not None and _is_here(store, row, spool) and store.catalog.keep_files([row.id]):
        return
    if not spool.is_sound():  # the catalogue vouched for it when we first looked, and does no more
        raise _rotten(spool)
    spool.path.replace(target)
    sync_folder(store.files_folder)
    store.nodes.sync()
    store.adopt_car(target, roots[0], spool.sections)


def _rotten(spool: Spool) -> StoreError:
    """Each block was hashed before it was written: the CAR is not to blame."""
    hint = "import the CAR again; if that ends so too, check the disk that the repository is on"
    return StoreError(f"{spool.path} does not hold what was written to it", hint=hint)


def _is_here(store: DiskStore, row: FileRow, spool: Spool) -> bool:
    """Whether an earlier import left the same copy, unchanged since, with its index."""
    try:
        file = OpenFile(row)
    except OSError:
        return False
    trusted = file.trusted()
    file.close()
    known = [section for section in spool.sections if section[0].multihash[:2] == SHA2_256_PREFIX]
    return trusted and all(
        any((ref.file, ref.offset) == (row.id, offset) for ref in store.leaves.find_anew(cid.multihash[2:]))
        for cid, offset, _ in (known[:1] + known[-1:])
    )


def first_missing(store: DiskStore, root: CID) -> CID | None:
    """The first block below `root`, in CAR order, that the store does not hold; None when the DAG is complete."""
    steps = walk.dag_order(root, "all")
    cid = next(steps, None)
    while cid is not None:
        if cid.codec == RAW:
            if not store.has(cid):
                return cid
            data = b""
        else:
            try:
                data = store.get(cid).data
            except BlockMissingError:
                return cid
        try:
            cid = steps.send(data)
        except StopIteration:
            return None
    return None
