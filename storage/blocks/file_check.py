"""Is a file what the leaf index and the catalogue say? Hashed leaf by leaf and as a whole; CARs block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import BinaryIO

from ..cid import CID
from ..dag.build import build_file
from ..dag.car import read_header
from ..dag.layout import leaf_count
from ..dag.walk import file_layout, run
from ..errors import ConfigError, FileChangedError, HoldfastError
from ..limits import MAX_BLOCK_BYTES
from .catalog import FileRow
from .disk import DiskStore, car_framing, reader
from .fault import Checked, Fault
from .file_leaves import Leaf, Leaves
from .hashing import HashedFile, hash_files
from .stamp import Stamp

_LEAST_LEAF = 1024  # bytes: nobody has smaller ones but in small files, and hashing a large one by them takes memory


class Mend(Enum):
    """What may be written of a file that is right."""

    NOTHING = "nothing"  # the catalogue is damaged
    STAMP = "stamp"  # its stamp, where that differs, and that it is here
    ROW = "row"  # all of its row, which differs from its echo


def _is_whole(store: DiskStore, row: FileRow, digests: bytes) -> bool:
    if build_file(row.stamp.size, row.leaf_size, digests)[0].cid == row.cid:
        return True
    try:  # made by others, in another shape
        return run(file_layout(row.cid), reader(store)).digests == digests
    except HoldfastError:
        return False


def check_file(
    store: DiskStore,
    row: FileRow,
    leaves: Leaves,
    done: Checked,
    workers: int | None,
    on_bytes: Callable[[int], None],
    *,
    mend: Mend,
) -> Iterator[Fault]:
    """Compare a file with the leaf index leaf by leaf, and as a whole with its CID.

    One that is right gets its stamp of now and counts as here, but for `Mend.NOTHING`.
    """
    places, name = leaves.of(row.id), str(row.path)
    expected = dict(places.leaves)
    if row.leaf_size < min(_LEAST_LEAF, row.stamp.size) and len(expected) != leaf_count(row.stamp.size, row.leaf_size):
        yield Fault(name, str(row.cid), 0, f"leaves of {row.leaf_size} bytes, and {len(expected)} in the leaf index")
        return
    try:
        (hashed,) = hash_files([row.path], row.leaf_size, workers=workers, on_bytes=on_bytes)
    except (ConfigError, FileChangedError) as error:
        yield Fault(name, str(row.cid), 0, error.message)
        return
    size = hashed.stamp.size
    if size != row.stamp.size:
        yield Fault(name, str(row.cid), 0, f"has {size} bytes, {row.stamp.size} were hashed")
        return
    good = 0
    for leaf in range(leaf_count(size, row.leaf_size)):
        offset = leaf * row.leaf_size
        length = min(row.leaf_size, size - offset)
        digest = hashed.digests[32 * leaf : 32 * leaf + 32]
        wanted = expected.pop(offset, None)
        if wanted is None:
            yield Fault(name, str(CID.raw(digest)), offset, "this leaf is not in the leaf index")
        elif (digest, length) not in places.at(offset):
            yield Fault(name, str(CID.raw(wanted[0])), offset, f"the {length} bytes here are not this leaf")
        else:
            good += 1
            done.bytes += length
    done.blocks += good
    for offset, (digest, _) in expected.items():
        yield Fault(name, str(CID.raw(digest)), offset, "the leaf index names a leaf where none begins")
    if good == leaf_count(size, row.leaf_size):
        if not _is_whole(store, row, hashed.digests):
            yield Fault(name, str(row.cid), 0, "its leaves are right, but together they are another file")
            return
        done.files += 1
        if mend is not Mend.NOTHING and not expected:
            _mend(store, row, hashed, mend, framing=b"")


def check_car(
    store: DiskStore, row: FileRow, leaves: Leaves, done: Checked, on_bytes: Callable[[int], None], *, mend: Mend
) -> Iterator[Fault]:
    """Compare a CAR of ours with the leaf index, and what lies between the blocks with its digest.

    One that is right gets its stamp of now and counts as here, but for `Mend.NOTHING`.
    """
    name, places = str(row.path), leaves.of(row.id)
    spans: list[tuple[int, int]] = []
    faulty = False
    try:
        with row.path.open("rb") as file:
            stamp, started_ns = Stamp.of(file.fileno()), time.time_ns()
            for offset in sorted(places.leaves):
                found = _block_at(file, offset, stamp.size, places.at(offset), on_bytes)
                digest, length = found or places.leaves[offset]
                if offset + length <= stamp.size:
                    spans.append((offset, length))
                if found:
                    done.blocks += 1
                    done.bytes += length
                else:
                    faulty = True
                    yield Fault(name, str(CID.raw(digest)), offset, "the bytes here are not this block")
            if car_framing(file, spans) != row.framing:
                faulty = True
                yield Fault(name, str(row.cid), 0, "what lies between the blocks of this CAR has changed")
            file.seek(0)
            if not faulty and row.cid not in read_header(file):
                faulty = True
                yield Fault(name, str(row.cid), 0, "the catalogue names a root that is not in the header of this CAR")
            if Stamp.of(file.fileno()) != stamp:
                faulty = True
                yield Fault(name, str(row.cid), 0, "it changed while it was being read")
    except OSError as error:
        faulty = True
        yield Fault(name, str(row.cid), 0, f"cannot be read: {error.strerror}")
    if not faulty:
        done.files += 1
        if mend is not Mend.NOTHING:
            hashed = HashedFile(row.path, stamp, started_ns, 0, b"")
            _mend(store, row, hashed, mend, framing=row.framing)


def _block_at(
    file: BinaryIO, offset: int, size: int, named: list[Leaf], on_bytes: Callable[[int], None]
) -> Leaf | None:
    """The block that begins here, of those that are said to."""
    for digest, length in named:
        data = b""
        if offset + length <= size:
            file.seek(offset)
            data = file.read(min(length, MAX_BLOCK_BYTES))
        on_bytes(len(data))
        if CID.raw(digest).matches(data):
            return digest, length
    return None


def _mend(store: DiskStore, row: FileRow, hashed: HashedFile, mend: Mend, *, framing: bytes) -> None:
    """The file is what it was all the same: distrusted and mended since, touched, or its repository was copied.

    Whose it is follows from where it lies, not from a row that may have rotted: a gc deletes what is ours.
    """
    owned = store.catalog.owns(row.path)
    if not row.indexed or hashed.stamp != row.stamp or owned != row.owned or mend is Mend.ROW:
        store.catalog.confirm(row, hashed, owned=owned, framing=framing, anew=mend is Mend.ROW)
