"""`collect`: free what no name and no pin leads to, beside whoever publishes, pins, imports or serves meanwhile.

First the walk from all roots, then the sweep. A thing goes only if the walk did not meet it *and* nobody stored it or
came to rely on it since the oldest writer under way began (see `lease`). The order within makes a kill harmless: a
file leaves the catalogue before the disk, and a leaf index is rewritten last.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..cid import CID
from ..errors import ConfigError, FormatError, StoreError
from . import catalog_check
from .catalog import Catalog
from .disk import DiskStore
from .journal import Journal
from .lease import Clock, oldest
from .reach import Reach, coming_roots, reach, whole_roots
from .verified_file import disk_error

LOG = logging.getLogger("holdfast.blocks")

_BATCH = 1000


@dataclass(slots=True)
class Freed:
    """What went. `bytes` on our disk: nodes, files of ours, partial ones. `forgotten`: files of the user's that are no
    longer referred to, and stay where they are. `missing`: nodes that a root leads to and that are not here.
    """

    bytes: int = 0
    nodes: int = 0
    files: int = 0
    forgotten: int = 0
    missing: int = 0
    kept_nodes: int = 0
    kept_files: int = 0


def collect(store: DiskStore, *, dry_run: bool = False, on_progress: Callable[[int], None] = lambda _: None) -> Freed:
    """Run once; returns what was freed (with `dry_run`: what would be). `on_progress`: things looked at so far.

    Raises `ConfigError` when another one runs on this repository; `StoreError` when the clock was set back, when
    something of a pinned root is missing or rotten, and when names and pins are not what was written, for then nobody
    knows what is to be kept: nothing is freed. Rows of files that are in doubt, and their files, stay where they are.
    """
    with _alone(store.folder):
        clock = Clock.now()
        limit_ns = oldest(store.folder, clock)
        _check_roots(store.catalog)
        seen = 0

        def count() -> None:
            nonlocal seen
            seen += 1
            on_progress(seen)

        reached = reach(store, whole_roots(store.catalog), count)
        if reached.missing and not dry_run:
            raise StoreError(
                f"{reached.missing[0]}, which a pin or a published name needs, is missing or rotten here; nothing was"
                f" freed: what lies below it could not be told from rubbish",
                hint="`holdfast repo verify` names all of it; publish or pin it again, or `holdfast pin rm` it",
            )
        if reached.unread:
            raise StoreError(
                f"the links of {reached.unread[0]}, which a pin or a published name needs, cannot be read; nothing was"
                f" freed: what it leads to could not be told from rubbish",
                hint="`holdfast repo verify` names all such; publish or pin it again, or `holdfast pin rm` it",
            )
        coming = reach(store, coming_roots(store.catalog), count)
        reached.blocks |= coming.blocks
        reached.files |= coming.files
        clock.check("gc")
        freed = Freed(missing=len(reached.missing))
        sweep = _Sweep(store, reached, limit_ns, dry_run, freed)
        if not dry_run:
            Journal(store.catalog).expire(limit_ns)  # first: no entry outlives the files that it speaks of
        odd = catalog_check.odd_files(store.catalog)
        sure = not odd and not catalog_check.lost_files(store.catalog)
        sweep.rows(count, odd)
        sweep.nodes(count)
        sweep.left(store.leaves.folder.glob(".*.tmp"))
        sweep.left(store.leaves.folder.glob("*.broken"))
        if sure:
            sweep.strays()
        else:  # what seems to be nobody's may be a file whose row has another path or id now
            LOG.warning("%s: rows of files are damaged; what they may speak of stays", store.catalog.path)
        clock.check("gc")
        if sure and not dry_run:
            store.leaves.compact(_alive(store.catalog), wait=True)
        return freed


def _check_roots(catalog: Catalog) -> None:
    for _, reason in catalog_check.roots(catalog):
        raise StoreError(
            f"{catalog.path}: {reason}; nothing was freed: what is to be kept could not be told from rubbish",
            hint="`holdfast repo verify` names all that is wrong with it, and says what to do",
        )


class _Alive(set[int]):
    """The files of the catalogue, and all that come into it later."""

    def __init__(self, ids: set[int], newest: int) -> None:
        super().__init__(ids)
        self._newest = newest  # read before the ids: what came in between is among both

    def __contains__(self, file: object) -> bool:
        return super().__contains__(file) or (isinstance(file, int) and file > self._newest)


def _alive(catalog: Catalog) -> _Alive:
    newest = int(str(catalog.rows("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")[0][0]))
    return _Alive({int(str(row[0])) for row in catalog.rows("SELECT id FROM files")}, newest)


@dataclass(slots=True)
class _Sweep:
    store: DiskStore
    reached: Reach
    limit_ns: int
    dry_run: bool
    freed: Freed

    def rows(self, count: Callable[[], None], odd: set[int]) -> None:
        """Files of the catalogue, but not `odd` ones. What lies elsewhere than in our folder is not ours."""
        catalog = self.store.catalog
        idle = catalog.rows("SELECT id FROM files WHERE used_ns < ?", (self.limit_ns,))
        unwanted = [int(str(row[0])) for row in idle if row[0] not in self.reached.files and row[0] not in odd]
        total = int(str(catalog.rows("SELECT count(*) FROM files")[0][0]))
        self.freed.kept_files = total - len(unwanted)
        for batch in _batches(unwanted):
            with self.store.sweep.exclusive():
                for path, size in _forget(catalog, batch, self.limit_ns, dry_run=self.dry_run):
                    count()
                    if not catalog.owns(path):
                        self.freed.forgotten += 1
                    elif self._is_idle(path):  # else a pin has just put the same file there again
                        self.freed.files += 1
                        self.freed.bytes += size
                        if not self.dry_run:
                            self._unlink(path)

    def nodes(self, count: Callable[[], None]) -> None:
        """Blocks in files of their own."""
        for batch in _batches(self.store.nodes.folder.glob("??/*")):
            with self.store.sweep.exclusive():
                for path in batch:
                    count()
                    if self._is_wanted(path) or not self._is_idle(path):
                        self.freed.kept_nodes += 1
                        continue
                    self.freed.nodes += 1
                    self._remove(path)

    def strays(self) -> None:
        """What a kill left in `files/`: not in the catalogue, or never finished, and nobody's now."""
        for batch in _batches(self.store.files_folder.iterdir()):
            with self.store.sweep.exclusive():
                for path in batch:
                    if self._is_idle(path) and not self._is_filled(path) and not self.store.catalog.knows(path):
                        self.freed.files += 1
                        self._remove(path)

    def left(self, paths: Iterable[Path]) -> None:
        """Of the leaf index: what a kill left half-written, and segments that were set aside."""
        for path in paths:
            if self._is_idle(path):
                self._remove(path)

    def _is_wanted(self, path: Path) -> bool:
        try:
            return self.store.nodes.multihash(path) in self.reached.blocks
        except ValueError:  # a temporary file
            return False

    def _is_filled(self, path: Path) -> bool:
        """A partial file of a pin that is not finished: the next start goes on from there."""
        try:
            return CID.parse(path.name.split(".")[0]).multihash in self.reached.blocks
        except FormatError:
            return False

    def _is_idle(self, path: Path) -> bool:
        try:
            about = path.stat()
            return about.st_mtime_ns < self.limit_ns and not stat.S_ISDIR(about.st_mode)
        except FileNotFoundError:
            return False

    def _remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            self.freed.bytes += path.stat().st_blocks * 512
        if not self.dry_run:
            self._unlink(path)

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, path) from error


def _forget(catalog: Catalog, ids: list[int], limit_ns: int, *, dry_run: bool) -> list[tuple[Path, int]]:
    """Take files out of the catalogue unless somebody came to rely on them meanwhile; path and size of each."""
    marks = ",".join("?" * len(ids))
    where = f"WHERE id IN ({marks}) AND used_ns < ?"
    columns, values = "path, size", (*ids, limit_ns)
    if dry_run:
        rows = catalog.rows(f"SELECT {columns} FROM files {where}", values)  # noqa: S608 - our own clauses
    else:
        with catalog.transaction() as connection:
            rows = connection.execute(f"DELETE FROM files {where} RETURNING {columns}", values).fetchall()  # noqa: S608
            connection.execute("DELETE FROM packed WHERE file NOT IN (SELECT id FROM files)")
    folder = catalog.path.parent.absolute()
    return [(folder / os.fsdecode(path), int(str(size))) for path, size in rows if isinstance(path, bytes)]


def _batches(items: Iterator[Path] | list[int]) -> Iterator[list]:  # type: ignore[type-arg]
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    path = folder / "gc.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConfigError(f"another gc runs on {folder}", hint="wait for it to end") from None
    finally:
        os.close(fd)
