"""`pack`: a dataset becomes pieces and their manifest: its blocks are read, hashed and folded once, none is written."""

from __future__ import annotations

import fcntl
import io
import os
import secrets
from collections import deque
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from ...storage.blocks.atomic import sync_folder
from ...storage.blocks.block import Block
from ...storage.blocks.disk import DiskStore
from ...storage.blocks.verified_file import disk_error
from ...storage.cid import CID, DAG_PB, RAW, SHA2_256_PREFIX
from ...storage.dag.car import section_head
from ...storage.dag.order import dag_order
from ...storage.dag.walk import PathNotFoundError
from ...storage.dataset import Dataset
from ...storage.errors import UnsupportedError
from ...storage.manifest import HEAD_PATH
from ...storage.pieces.block_table import ROW, BlockTable
from ...storage.pieces.car_piece import header, padding
from ...storage.pieces.hasher import PieceHasher
from ...storage.pieces.manifest import MAX_PIECE_BYTES, MAX_PIECES, PieceManifest
from ...storage.pieces.piece import Piece
from ...storage.session import Session, user_policy
from ...storage.sources.local import Local
from ...storage.uri import DatasetUri
from .finished import Behind, Finished, OtherBlocksError, Rows
from .groups import GROUP_BYTES, groups

_READERS, _AHEAD = 2, 8  # threads that read leaves; leaves that are read before their turn

OnBytes = Callable[[int, int], None]


def pack(
    store: DiskStore,
    root: CID,
    *,
    cars: Path | None = None,
    on_bytes: OnBytes = lambda _done, _total: None,
    on_made: Callable[[PieceManifest], object] = lambda _: None,
    max_group_bytes: int = GROUP_BYTES,
    max_piece_bytes: int = MAX_PIECE_BYTES,
) -> PieceManifest:
    """The pieces of a dataset that lies whole in the repository; the same ones whoever packs it.

    Shards are grouped by content (`groups`), each group is a CAR; one that comes out longer than a piece goes on in
    the next. All that is no shard comes last, and of a tree that is no dataset that is all. `cars`: a folder that gets
    the CARs, named by their PieceCIDs. `on_bytes` is told of shard bytes, of how many.

    One that was killed goes on behind the pieces that it had finished, as far as their CARs are there: they are noted
    until `on_made`, which may keep the manifest, has returned.

    Raises `BlockMissingError`, `FileChangedError`, `StoreError`, `UnsupportedError` for blocks that are not named by
    sha2-256.
    """
    root = root.v1()
    if cars is not None:
        _clear(cars)
    finished = Finished(store.folder / "packing", root, (max_group_bytes, max_piece_bytes))
    try:
        found = _pack(store, root, cars, finished, max_group_bytes, max_piece_bytes, on_bytes)
    except OtherBlocksError:
        finished.clear()
        found = _pack(store, root, cars, finished, max_group_bytes, max_piece_bytes, on_bytes)
    if not found.pieces:
        raise UnsupportedError(f"{root} has no blocks", hint="pieces are made of what has a byte")
    made = PieceManifest(root, tuple(found.pieces), BlockTable.of(np.concatenate(found.rows)))
    on_made(made)
    finished.clear()
    return made


def _pack(
    store: DiskStore, root: CID, cars: Path | None, finished: Finished, max_group_bytes: int, max_piece_bytes: int,
    on_bytes: OnBytes,
) -> _Pieces:  # fmt: skip
    shards = _shards(store, root)
    total = sum(size for _, size in shards)
    leaves = {cid for cid, _ in shards}
    found = _Pieces(cars, max_piece_bytes, finished)
    behind = Behind(tuple(found.rows))
    try:
        for group in groups(shards, max_group_bytes):
            for cid, data in _blocks(store, group, (), behind):
                found.add(cid, data)
                on_bytes(min(found.size, total), total)
            found.end()
        for cid, data in _blocks(store, [root], leaves, behind):
            found.add(cid, data)
        found.end()
        behind.end()
    finally:
        found.close()
    return found


def _clear(folder: Path) -> None:
    """Remove what packs that were killed have left: whoever is still at work holds a lock on its file."""
    for path in folder.glob(".*.car.part"):
        with suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_size:  # an empty one may be about to be locked
                path.unlink(missing_ok=True)


def _shards(store: DiskStore, root: CID) -> list[tuple[CID, int]]:
    """The shards and their bytes, in the order of the manifest; none of what is no dataset."""
    with Session(DatasetUri(root), [Local(store)], policy=user_policy()) as session:
        try:
            session.tree.find(HEAD_PATH)
        except PathNotFoundError:
            return []
        return [(CID.parse(shard.cid), shard.bytes) for shard in Dataset(session.tree).open().shards()]


def _blocks(store: DiskStore, roots: list[CID], without: Container[CID], behind: Behind) -> Iterator[tuple[CID, bytes]]:
    """The blocks below some roots in the order of a CAR, each once; not those of `without`, nor what is below them, and
    not those that are `behind`.

    Leaves are read ahead, in threads: to read and hash them one by one takes as long as CommP on two cores.
    """
    with ThreadPoolExecutor(_READERS, thread_name_prefix="holdfast-pack") as pool:
        ahead: deque[tuple[CID, bytes | Future[Block]]] = deque()
        try:
            for cid, data in _walk(store, roots, without):
                if behind.has(cid):
                    continue
                ahead.append((cid, pool.submit(store.get, cid) if data is None else data))
                if len(ahead) > _AHEAD:
                    yield _read(*ahead.popleft())
            while ahead:
                yield _read(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _read(cid: CID, data: bytes | Future[Block]) -> tuple[CID, bytes]:
    return cid, data if isinstance(data, bytes) else data.result().data


def _walk(store: DiskStore, roots: list[CID], without: Container[CID]) -> Iterator[tuple[CID, bytes | None]]:
    """See `_blocks`; leaves without their data."""
    seen: set[CID] = set()
    for root in roots:
        steps = dag_order(root, "all")
        cid: CID | None = next(steps, None)
        while cid is not None:
            data, named = b"", cid.v1()
            if named not in without:
                data = b"" if cid.codec == RAW else store.get(cid).data
                if named not in seen:
                    seen.add(named)
                    yield named, None if cid.codec == RAW else data
            try:
                cid = steps.send(data)
            except StopIteration:
                cid = None


class _Pieces:
    """The pieces so far, those that were `finished` before among them, and the one that is being filled."""

    def __init__(self, folder: Path | None, max_bytes: int, finished: Finished) -> None:
        self.pieces: list[Piece] = []
        self.rows: list[Rows] = []
        self.size = 0  # of all
        self._folder, self._max_bytes, self._finished = folder, max_bytes, finished
        self._open: _Open | None = None
        for piece, rows in finished.read():
            if folder is not None and not _is_there(folder / f"{piece.cid}.car", piece.cid.size):
                break
            self.pieces.append(piece)
            self.rows.append(rows)
            self.size += int(rows["length"].sum())

    def add(self, cid: CID, data: bytes) -> None:
        """One more block."""
        head = section_head(cid, len(data))
        if self._open is not None and self._open.at + len(head) + len(data) > self._max_bytes:
            self.end()
        if self._open is None:
            if len(self.pieces) == MAX_PIECES:
                raise UnsupportedError(f"more than {MAX_PIECES} pieces", hint="publish it in parts")
            self._open = _Open(len(self.pieces), self._folder)
            head = header(cid) + head
        self._open.add(cid, head, data)
        self.size += len(data)

    def end(self) -> None:
        """No more blocks for this piece."""
        if self._open is not None:
            try:
                piece, rows = self._open.finish()
            finally:
                self.close()
            self._finished.keep(len(self.pieces), piece, rows)
            self.pieces.append(piece)
            self.rows.append(rows)

    def close(self) -> None:
        """Stop threads, and leave no half of a CAR. Idempotent."""
        if self._open is not None:
            self._open.close()
            self._open = None


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


class _Open:
    """A piece that is being filled."""

    def __init__(self, number: int, folder: Path | None) -> None:
        self.at = 0
        self._number, self._folder = number, folder
        self._rows: list[tuple[bytes, int, int, int, int]] = []
        self._cleanup = ExitStack()
        self._hasher = self._cleanup.enter_context(PieceHasher())
        self._car: io.BufferedWriter | None = None
        if folder is not None:
            mine = secrets.token_hex(4)  # somebody else may pack into the same folder
            path = folder / f".{number:05d}.{mine}.car.part"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._car = self._cleanup.enter_context(path.open("xb"))
                fcntl.flock(self._car, fcntl.LOCK_EX)
            except OSError as error:
                raise disk_error(error, path) from error
            self._cleanup.callback(path.unlink, missing_ok=True)

    def add(self, cid: CID, head: bytes, data: bytes) -> None:
        """A block with what comes before it."""
        if cid.multihash[:2] != SHA2_256_PREFIX or cid.codec not in (RAW, DAG_PB):
            raise UnsupportedError(f"{cid} is no block of a dataset that holdfast published")
        self._rows.append((cid.multihash[2:], self.at + len(head), len(data), self._number, cid.codec))
        self._write(head)
        self._write(data)

    def finish(self) -> tuple[Piece, Rows]:
        """The piece and its rows of the table; the CAR is on the disk."""
        self._write(padding(self.at))
        piece = self._hasher.finish()
        if self._car is not None and self._folder is not None:
            self._keep(self._car, self._folder / f"{piece.cid}.car", self._folder)
        rows = np.empty(len(self._rows), ROW)
        digests = np.frombuffer(b"".join(row[0] for row in self._rows), np.uint8)
        rows["digest"] = digests.reshape(-1, 32)
        for column, name in enumerate(("offset", "length", "piece", "codec"), 1):
            rows[name] = [row[column] for row in self._rows]
        return piece, rows

    def close(self) -> None:
        """Stop the threads; a CAR that was not kept goes."""
        self._cleanup.close()

    def _write(self, data: bytes) -> None:
        self._hasher.update(data)
        self.at += len(data)
        if self._car is not None:
            try:
                self._car.write(data)
            except OSError as error:
                raise disk_error(error, Path(self._car.name)) from error

    @staticmethod
    def _keep(car: io.BufferedWriter, path: Path, folder: Path) -> None:
        try:
            car.flush()
            os.fsync(car.fileno())
            car.close()
            Path(car.name).replace(path)
            sync_folder(folder)
        except OSError as error:
            raise disk_error(error, path) from error
