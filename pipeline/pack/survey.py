"""`survey`: the first reading of files of rows, which learns their schema; after a kill it goes on where it was.

What is known of the files so far goes into the journal of the repository, every two seconds or so: one entry for a
source, of a schema and a few bytes for each shard. It counts while those files are, by their stamps, the ones that were
read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...storage.blocks.journal import Journal
from ..detect import SourceFile
from ..skipped import Skipped
from .rows import RowCount, RowSource

_VERSION = "survey-2"  # changes whenever the same files would give another state
_BATCH_S = 2.0  # what a kill loses
_MAX_STATE = 4 << 20  # characters; behind the first that is longer nothing is noted: it hardly gets shorter again


def survey(
    rows: RowSource, files: Sequence[SourceFile], skipped: Skipped, on_bytes: Callable[[int], None], log: SurveyLog
) -> None:
    """Show all `files` to `rows`, but for those that a survey of the same files has seen before.

    What is no row goes to `skipped`. Raises `ConfigError` when there is nothing else.
    """
    found = Skipped()  # of this survey alone: an entry repeats it
    done = log.take_up(rows, files, found)
    on_bytes(sum(file.size for file in files[:done]))
    for number, file in enumerate(files[done:], done):
        rows.see(number, file, found)
        on_bytes(file.size)
        log.add(file)
        log.note_in_time(rows, found)
    log.note_end(rows, found)
    rows.check()
    skipped.take(found)


class SurveyLog:
    """The journal's entry for one source, and all else that a survey depends on. No journal: no entries."""

    def __init__(self, journal: Journal | None, source: Path, kind: str, shard_size: int) -> None:
        self._journal, self._shard_size = journal, shard_size
        where = os.fsencode(source.resolve())
        self._key = hashlib.sha256(b"survey\0" + where).digest()
        self._shape = json.dumps([_VERSION, kind, shard_size]).encode() + where
        self._begin()

    def _begin(self) -> None:
        self._digest, self._count = hashlib.sha256(self._shape), 0
        self._settled = True  # no file could change without its stamp showing it
        self._fits = True  # what is known into an entry
        self._noted, self._noted_at = 0, time.monotonic()  # files

    def add(self, file: SourceFile) -> None:
        """One more file was seen."""
        self._count += 1
        self._settled = self._settled and file.stamp is not None
        self._digest.update((file.stamp or b"") + file.name.encode() + b"\0")

    def take_up(self, rows: RowSource, files: Sequence[SourceFile], found: Skipped) -> int:
        """Give `rows` and `found` what is known already; returns of how many files, 0 when of none."""
        text = self._journal.read(self._key) if self._journal is not None else None
        try:
            digest, count, size, names, more, state = json.loads(text or "")
            for file in files[:count]:
                self.add(file)
            if self._settled and (self._digest.hexdigest(), self._count) == (digest, count):
                row_count = RowCount.parse(self._shard_size, size)
                named, left_out = [(str(name), str(reason)) for name, reason in names], int(more)
                rows.go_on(files[:count], state)
                rows.size = row_count
                for name, reason in named:
                    found.add(name, reason)
                found.count = left_out
                self._noted = self._count
                return self._count
        except (ValueError, TypeError, KeyError, RecursionError):  # none, or not one of ours
            pass
        self._begin()
        return 0

    def note_in_time(self, rows: RowSource, found: Skipped) -> None:
        """Note what is known, if it was some time since."""
        if time.monotonic() - self._noted_at > _BATCH_S:
            self._note(rows, found)

    def note_end(self, rows: RowSource, found: Skipped) -> None:
        """All files were seen: note that too, if it took so long that something was noted before."""
        if 0 < self._noted < self._count:
            self._note(rows, found)

    def _note(self, rows: RowSource, found: Skipped) -> None:
        if self._journal is None or not self._settled or not self._fits:
            return
        text = json.dumps(
            [self._digest.hexdigest(), self._count, rows.size.state(), found.named(), found.count, rows.state()]
        )
        self._fits = len(text) <= _MAX_STATE
        if self._fits:
            self._journal.write(self._key, text)
        self._noted, self._noted_at = self._count, time.monotonic()

    def drop(self) -> None:
        """The publish has ended: nobody goes on with it."""
        if self._journal is not None and self._journal.read(self._key) is not None:
            self._journal.drop(self._key)
