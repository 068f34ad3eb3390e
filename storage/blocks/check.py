"""`check`: read everything that a repository holds, and name each thing that is no longer what was written.

The catalogue by its own structure and row by row; nodes by their names, files leaf by leaf by the leaf index and as a
whole by their CID, CARs section by section, segments of the leaf index by the digest in their names. Nothing is
trusted: no stamp, and not the index, whose entries must cover each file.

What is found is also dealt with. A file that is wrong is no longer served unhashed, and counts as absent for who
publishes or pins it again. One that is right gets its stamp of now, so that it is served at full speed again, in a
repository that was restored from a backup, say. A catalogue whose structure is damaged is not written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ..cid import CID, RAW
from ..errors import BlockMissingError, FormatError, HoldfastError, StoreError
from . import catalog_check
from .disk import DiskStore
from .fault import Checked, Fault
from .file_check import Leaves, Mend, check_car, check_file
from .nodes import NodeStore
from .reach import reach, whole_roots
from .rescue import right_leaves

__all__ = ["Checked", "Fault", "check"]

OnBytes = Callable[[int], None]


def check(
    store: DiskStore, done: Checked, *, workers: int | None = None, on_bytes: OnBytes = lambda _: None
) -> Iterator[Fault]:
    """Every fault, as it is found; counts into `done`. Raises `StoreError` when the disk cannot be read."""
    catalog = str(store.catalog.path)
    damaged = [Fault(catalog, cid, 0, reason) for cid, reason in catalog_check.structure(store.catalog)]
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
    for path in store.leaves.damaged():
        if mend and store.leaves.rescue(path, partial(right_leaves, store)):
            yield Fault(str(path), "", 0, "it changed since it was written; what is right of it was written anew")
        else:
            yield Fault(str(path), "", 0, "it changed since it was written")
    odd = catalog_check.odd_files(catalog)
    ids = [int(str(row[0])) for row in catalog.rows("SELECT id FROM files ORDER BY id")]
    yield from _nodes(store.nodes, done, on_bytes)
    for cid in reach(store, whole_roots(catalog)).missing:
        yield Fault(str(store.folder), str(cid), 0, "a pin or a published name needs this block, and it is not here")
    leaves = Leaves()
    for broken, reason in leaves.read(store):
        yield Fault(str(broken), "", 0, reason)
    for row, reason in catalog_check.sequence(catalog, max([leaves.newest(), *ids])):
        yield Fault(str(catalog.path), row, 0, reason)
    for file_id in ids:
        how = Mend.NOTHING if not mend else Mend.ROW if file_id in odd else Mend.STAMP
        good, faults = _of_file(store, file_id, leaves, workers, on_bytes, how)
        if faults:  # somebody may have merged segments, or let go of the file, since we listed them: look again
            leaves = Leaves()
            list(leaves.read(store))
            good, faults = _of_file(store, file_id, leaves, workers, on_bytes, how)
        done.add(good)
        if faults and mend:
            catalog.distrust(file_id)
        yield from faults


def _of_file(
    store: DiskStore, file_id: int, leaves: Leaves, workers: int | None, on_bytes: OnBytes, mend: Mend
) -> tuple[Checked, list[Fault]]:
    good = Checked()
    try:
        row = store.catalog.file(file_id)
    except StoreError as error:
        return good, [Fault(str(store.catalog.path), "", 0, error.message)]
    if row is None or (not row.indexed and not leaves.of(file_id)):  # gone, or not there yet
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
