"""What a new pin relies on: stamped, so that a gc under way leaves it (see `lease`), and then surely here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..blocks.disk import DiskStore, OpenFile
from ..cid import CID, IDENTITY, RAW, SHA2_256_PREFIX
from ..dag.steps import children
from ..errors import BlockMissingError, HashMismatchError, StoreError

_BATCH = 1000  # files that are stamped in one transaction


def rely_on(store: DiskStore, root: CID) -> None:
    """Stamp every block below `root` and every file that holds one; what is missing is passed over."""
    files: set[int] = set()
    stamped: set[int] = set()
    for cid in _needed(store, root):
        store.nodes.keep(cid)
        files.update(row.id for row in store.catalog.files_of(cid))
        if cid.multihash[:2] == SHA2_256_PREFIX:
            files.update(ref.file for ref in store.leaves.find_anew(cid.multihash[2:]))
        if len(files) - len(stamped) >= _BATCH:
            store.catalog.keep_files(files - stamped)
            stamped |= files
    store.catalog.keep_files(files - stamped)


def check_complete(store: DiskStore, root: CID) -> None:
    """Raise `BlockMissingError` unless every block below `root` is on the disk, and `StoreError` for a disk that fails.

    A node is read and hashed. A leaf is in a file that is as it was when it was hashed, or it is read and hashed, too.
    Raises `FormatError` for a node that matches its hash and is malformed.
    """
    files = _Files(store)
    for cid in _needed(store, root):
        if cid.codec == RAW and files.hold(cid):
            continue
        try:
            store.get(cid)
        except (StoreError, HashMismatchError) as error:
            raise BlockMissingError(
                f"{root} is not complete in {store.folder}: {error.message}",
                hint="a running peer fetches what it pins: holdfast pin add … --to URL --origin URL",
            ) from error


def _needed(store: DiskStore, root: CID) -> Iterator[CID]:
    """Every block below `root` that can be reached here, once; not the leaves of a file that is here as a whole."""
    seen: set[tuple[int, bytes, bool]] = set()
    stack = [(root, False)]
    while stack:
        cid, whole = stack.pop()
        if cid.hash_code == IDENTITY:
            stack += [(child, whole) for child in reversed(children(cid.codec, cid.digest))]
            continue
        if (whole and cid.codec == RAW) or (cid.codec, cid.multihash, whole) in seen:
            continue
        seen.add((cid.codec, cid.multihash, whole))
        yield cid
        if cid.codec == RAW:
            continue
        try:
            data = store.get(cid).data
        except (StoreError, HashMismatchError):
            continue
        whole = whole or _is_whole(store, cid)
        stack += [(child, whole) for child in reversed(children(cid.codec, data))]


def _is_whole(store: DiskStore, cid: CID) -> bool:
    file = store.open_file(cid)
    if file is not None:
        file.close()
    return file is not None


@dataclass(slots=True)
class _Files:
    """Which files of the catalogue are as they were when they were hashed: each is looked at once."""

    store: DiskStore
    known: dict[int, bool] = field(default_factory=dict)

    def hold(self, leaf: CID) -> bool:
        """Whether one of them surely has this leaf."""
        if leaf.multihash[:2] != SHA2_256_PREFIX:
            return False
        return any(self._is_sound(ref.file) for ref in self.store.leaves.find_anew(leaf.multihash[2:]))

    def _is_sound(self, file_id: int) -> bool:
        if file_id not in self.known:
            self.known[file_id] = self._look(file_id)
        return self.known[file_id]

    def _look(self, file_id: int) -> bool:
        row = self.store.catalog.file(file_id)
        if row is None:
            return False
        try:
            file = OpenFile(row)
        except OSError:
            return False
        try:
            return file.trusted()
        finally:
            file.close()
