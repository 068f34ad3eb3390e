"""`check`: read everything that a repository holds, and name each thing that is no longer what was written.

The catalogue by its own structure and row by row; nodes by their names, files leaf by leaf by the leaf index and as a
whole by their CID, CARs section by section, segments of the leaf index by the digest in their names. Nothing is
trusted: no stamp, and not the index, whose entries must cover each file.

What is found is also dealt with. A file that is wrong is no longer served unhashed, and counts as absent for who
publishes or pins it again. One that is right gets its stamp of now, so that it is served at full speed again, in a
repository that was restored from a backup, say. A catalogue whose structure is damaged is not written to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

from ..cid import CID, RAW
from ..errors import BlockMissingError, FormatError, HoldfastError, StoreError
from . import catalog_check
from .catalog import FileRow
from .disk import DiskStore
from .fault import Checked, Fault
from .file_check import Mend, check_car, check_file
from .file_leaves import Leaves
from .nodes import NodeStore
from .reach import reach, readable_roots
from .rescue import rescue

__all__ = ["Checked", "Fault", "check"]

OnBytes = Callable[[int], None]


def check(
    store: DiskStore, done: Checked, *, workers: int | None = None, on_bytes: OnBytes = lambda _: None
) -> Iterator[Fault]:
    """Every fault, as it is found; counts into `done`. Raises `StoreError` when the disk cannot be read."""
    catalog = str(store.catalog.path)
    damaged = [Fault(catalog, cid, 0, reason) for cid, reason in catalog_check.structure(store.catalog)]
    if damaged:
        store.catalog.leave()
    yield from damaged
    odd = [Fault(catalog, cid, 0, reason) for cid, reason in catalog_check.rows(store.catalog, mend=not damaged)]
    yield from odd
    try:
        yield from _contents(store, done, workers, on_bytes, mend=not damaged)
    except (StoreError, FormatError) as error:
        if not damaged and not odd:
            raise
        yield Fault(catalog, "", 0, f"the rest was not checked: {error.message}")


def _contents(
    store: DiskStore, done: Checked, workers: int | None, on_bytes: OnBytes, *, mend: bool
) -> Iterator[Fault]:
    catalog = store.catalog
    broken: list[Path] = []
    doubted: set[int] = set()
    for path in store.leaves.damaged():
        files = rescue(store, path) if mend else None
        if files is None:
            broken.append(path)
            yield Fault(str(path), "", 0, "it changed since it was written")
        else:
            doubted |= files
            yield Fault(str(path), "", 0, "it changed since it was written; what is right of it was written anew")
    odd = catalog_check.odd_files(catalog) if mend else set()
    ids = [int(str(row[0])) for row in catalog.rows("SELECT id FROM files ORDER BY id")]
    yield from _nodes(store.nodes, done, on_bytes)
    yield from _roots(store)
    leaves = Leaves()
    for segment, reason in leaves.read(store, broken):
        yield Fault(str(segment), "", 0, reason)
    for row, reason in catalog_check.sequence(catalog, max([leaves.newest(), *ids])):
        yield Fault(str(catalog.path), row, 0, reason)
    for file_id in ids:
        how = Mend.NOTHING if not mend else Mend.ROW if file_id in odd else Mend.STAMP
        before = _row(store, file_id)
        good, faults = _of_file(store, file_id, leaves, workers, on_bytes, how, doubted)
        if faults and (leaves.changed(store) or _row(store, file_id) != before):  # merged, or let go of, meanwhile
            leaves = Leaves()
            list(leaves.read(store, broken))
            good, faults = _of_file(store, file_id, leaves, workers, on_bytes, how, doubted)
        done.add(good)
        if faults and mend:
            catalog.distrust(file_id)
        yield from faults


def _roots(store: DiskStore) -> Iterator[Fault]:
    found = reach(store, readable_roots(store.catalog))
    for cid in found.missing:
        yield Fault(str(store.folder), str(cid), 0, "a pin or a published name needs this block, and it is not here")
    for cid in found.unread:
        reason = "a pin or a published name leads to this block, and nobody can read where that leads"
        yield Fault(str(store.folder), str(cid), 0, reason)


def _row(store: DiskStore, file_id: int) -> FileRow | None:
    with suppress(StoreError):  # said by `_of_file`
        return store.catalog.file(file_id)
    return None


def _of_file(
    store: DiskStore,
    file_id: int,
    leaves: Leaves,
    workers: int | None,
    on_bytes: OnBytes,
    mend: Mend,
    doubted: Collection[int],
) -> tuple[Checked, list[Fault]]:
    """`doubted`: files that are looked at though they are not marked as here: their leaves were doubted just now."""
    good = Checked()
    try:
        row = store.catalog.file(file_id)
    except StoreError as error:
        return good, [Fault(str(store.catalog.path), "", 0, error.message)]
    if row is None or (
        not row.indexed and file_id not in doubted and not leaves.of(file_id).leaves
    ):  # gone, or not yet
        return good, []
    if row.leaf_size == 0:
        return good, list(check_car(store, row, leaves, good, on_bytes, mend=mend))
    return good, list(check_file(store, row, leaves, good, workers, on_bytes, mend=mend))


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
