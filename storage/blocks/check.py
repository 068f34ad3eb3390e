"""`check`: read everything that a repository holds, and name each thing that is no longer what was hashed.

Nodes by their names, files leaf by leaf by the leaf index and as a whole by their CID, CARs section by section.
Nothing is trusted: no stamp, and not the index, whose entries must cover each file. A file that is wrong is no longer
served unhashed, and counts as absent for who publishes or pins it again. One that is right gets its stamp of now, so
that it is served at full speed again, in a repository that was restored from a backup, say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cid import CID, RAW
from ..dag.build import build_file
from ..dag.layout import leaf_count
from ..dag.walk import file_layout, run
from ..errors import BlockMissingError, ConfigError, FileChangedError, HoldfastError, StoreError
from ..limits import MAX_BLOCK_BYTES
from .catalog import FileRow
from .disk import DiskStore, car_framing, reader
from .hashing import hash_files
from .nodes import NodeStore
from .reach import reach, whole_roots


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: which file (of ours, or the user's), which block, where in it, and what."""

    file: str
    cid: str
    offset: int
    reason: str


@dataclass(slots=True)
class Checked:
    """What was read without a fault: blocks, files, bytes."""

    blocks: int = 0
    files: int = 0
    bytes: int = 0

    def add(self, other: Checked) -> None:
        """Count what another one counted."""
        self.blocks += other.blocks
        self.files += other.files
        self.bytes += other.bytes


def check(
    store: DiskStore, done: Checked, *, workers: int | None = None, on_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Fault]:
    """Every fault, as it is found; counts into `done`. Raises `StoreError` when the catalogue itself is broken."""
    rows = store.catalog.rows("PRAGMA integrity_check(1)")
    if rows != [("ok",)]:
        raise StoreError(
            f"{store.catalog.path} is broken: {rows[0][0]}", hint="restore it from a backup, or publish and pin again"
        )
    ids = [int(str(row[0])) for row in store.catalog.rows("SELECT id FROM files ORDER BY id")]
    yield from _nodes(store.nodes, done, on_bytes)
    for cid in reach(store, whole_roots(store.catalog)).missing:
        yield Fault(str(store.folder), str(cid), 0, "a pin or a published name needs this block, and it is not here")
    leaves = _Leaves()
    for path, reason in leaves.read(store):
        yield Fault(str(path), "", 0, reason)
    for file_id in ids:
        good, faults = _of_file(store, file_id, leaves, workers, on_bytes)
        if faults:  # somebody may have merged segments, or let go of the file, since we listed them: look again
            leaves = _Leaves()
            list(leaves.read(store))
            good, faults = _of_file(store, file_id, leaves, workers, on_bytes)
        done.add(good)
        if faults:
            store.catalog.distrust(file_id)
        yield from faults


def _of_file(
    store: DiskStore,
    file_id: int,
    leaves: _Leaves,
    workers: int | None,
    on_bytes: Callable[[int], None],
) -> tuple[Checked, list[Fault]]:
    row, good = store.catalog.file(file_id), Checked()
    if row is None or (not row.indexed and not leaves.of(file_id)):  # gone, or not there yet
        return good, []
    if row.leaf_size == 0:
        return good, list(_cars([row], leaves, good, on_bytes))
    return good, list(_files(store, [row], leaves, good, workers, on_bytes))


def _nodes(nodes: NodeStore, done: Checked, on_bytes: Callable[[int], None]) -> Iterator[Fault]:
    for path in sorted(nodes.folder.glob("??/*")):
        if path.name.startswith("."):
            continue
        try:
            cid = CID(1, RAW, nodes.multihash(path))
            data = nodes.get(cid).data
        except BlockMissingError:  # a gc took it
            continue
        except (ValueError, HoldfastError) as error:
            yield Fault(str(path), _name_of(path.name), 0, f"a node block: {error}")
            continue
        done.blocks += 1
        done.bytes += len(data)
        on_bytes(len(data))


def _name_of(name: str) -> str:
    try:
        return str(CID.parse("b" + name))
    except HoldfastError:
        return name


class _Leaves:
    """What the leaf index says of each file. Eight bytes of memory a leaf; the segments stay mapped."""

    def __init__(self) -> None:
        self._segments: list[tuple[npt.NDArray[np.bytes_], npt.NDArray[np.void], npt.NDArray[np.intp]]] = []

    def read(self, store: DiskStore) -> Iterator[tuple[os.PathLike[str], str]]:
        """Read all segments; yields those that are broken."""
        for path in sorted(store.leaves.folder.glob("*.leaves")):
            try:
                keys, references = store.leaves.table(path)
            except FileNotFoundError:
                continue
            except StoreError as error:
                yield path, error.message
                continue
            if len(keys) > 1 and not bool((keys[1:] >= keys[:-1]).all()):
                yield path, "its digests are not in order: look-ups fail"
            self._segments.append((keys, references, np.argsort(references["file"], kind="stable")))

    def of(self, file_id: int) -> dict[int, tuple[bytes, int]]:
        """Offset → digest and length."""
        found: dict[int, tuple[bytes, int]] = {}
        for keys, references, order in self._segments:
            files = references["file"]
            start, end = (int(np.searchsorted(files, file_id, side, sorter=order)) for side in ("left", "right"))
            for at in order[start:end].tolist():
                entry = references[at]
                found[int(entry["offset"])] = (keys[at : at + 1].tobytes(), int(entry["length"]))
        return found


def _is_whole(store: DiskStore, row: FileRow, digests: bytes) -> bool:
    if build_file(row.stamp.size, row.leaf_size, digests)[0].cid == row.cid:
        return True
    try:  # made by others, in another shape
        return run(file_layout(row.cid), reader(store)).digests == digests
    except HoldfastError:
        return False


def _files(
    store: DiskStore,
    rows: list[FileRow],
    leaves: _Leaves,
    done: Checked,
    workers: int | None,
    on_bytes: Callable[[int], None],
) -> Iterator[Fault]:
    for row in rows:
        expected = leaves.of(row.id)
        name = str(row.path)
        try:
            (hashed,) = hash_files([row.path], row.leaf_size, workers=workers, on_bytes=on_bytes)
        except (ConfigError, FileChangedError) as error:
            yield Fault(name, str(row.cid), 0, error.message)
            continue
        size = hashed.stamp.size
        if size != row.stamp.size:
            yield Fault(name, str(row.cid), 0, f"has {size} bytes, {row.stamp.size} were hashed")
            continue
        good = 0
        for leaf in range(leaf_count(size, row.leaf_size)):
            offset = leaf * row.leaf_size
            length = min(row.leaf_size, size - offset)
            digest = hashed.digests[32 * leaf : 32 * leaf + 32]
            wanted = expected.pop(offset, None)
            if wanted is None:
                yield Fault(name, str(CID.raw(digest)), offset, "this leaf is not in the leaf index")
            elif wanted != (digest, length):
                yield Fault(name, str(CID.raw(wanted[0])), offset, f"the {length} bytes here are not this leaf")
            else:
                good += 1
                done.bytes += length
        done.blocks += good
        for offset, (digest, _) in expected.items():
            yield Fault(name, str(CID.raw(digest)), offset, "the leaf index names a leaf where none begins")
        if good == leaf_count(size, row.leaf_size):
            if _is_whole(store, row, hashed.digests):
                done.files += 1
                if not row.indexed:  # distrusted, and mended since
                    store.catalog.set_indexed([row.id])
                if hashed.stamp != row.stamp:  # touched, or the repository was copied: it is what it was all the same
                    store.catalog.add_file(hashed, row.cid, owned=row.owned, leaf_size=row.leaf_size)
            else:
                yield Fault(name, str(row.cid), 0, "its leaves are right, but together they are another file")


def _cars(rows: list[FileRow], leaves: _Leaves, done: Checked, on_bytes: Callable[[int], None]) -> Iterator[Fault]:
    for row in rows:
        name, expected = str(row.path), leaves.of(row.id)
        faulty = False
        try:
            with row.path.open("rb") as file:
                for offset, (digest, length) in sorted(expected.items()):
                    file.seek(offset)
                    data = file.read(min(length, MAX_BLOCK_BYTES))
                    on_bytes(len(data))
                    if CID.raw(digest).matches(data):
                        done.blocks += 1
                        done.bytes += length
                    else:
                        faulty = True
                        yield Fault(name, str(CID.raw(digest)), offset, "the bytes here are not this block")
                spans = [(offset, length) for offset, (_, length) in expected.items()]
                if car_framing(file, spans) != row.framing:
                    faulty = True
                    yield Fault(name, str(row.cid), 0, "what lies between the blocks of this CAR has changed")
        except OSError as error:
            faulty = True
            yield Fault(name, str(row.cid), 0, f"cannot be read: {error.strerror}")
        done.files += not faulty
