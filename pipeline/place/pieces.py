"""`PiecePlacing`: placing, for Filecoin: planned, paid within a ceiling, one copy after the other, and read back."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from ...configs.filecoin import Filecoin
from ...configs.roster import Provider, Roster
from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID
from ...storage.errors import ConfigError
from ...storage.pieces.manifest import PieceManifest
from ...storage.pins.pin import Status
from ...storage.printable import printable
from ...storage.sources.http import Endpoint
from ...storage.sources.piece import PieceSource
from ..filecoin.copying import Pace
from ..filecoin.keep import Keeping, refuse
from ..filecoin.plan import Plan, PlannedCopy
from ..pieces.kept import manifest_for
from .placing import OnPlaced, PlaceOptions, now_us
from .read_back import ReadBack
from .state import Placed, Placements
from .trying import check, guarded

_POLL_S = 5.0  # between two looks at the chain: an epoch has 30 s
_SAY_S = 1.0


@dataclass(frozen=True, slots=True)
class PieceKeepers:
    """The `[filecoin]` table of a roster, and its providers of that kind."""

    table: Filecoin
    entries: tuple[Provider, ...] = ()

    @classmethod
    def of(cls, roster: Roster) -> PieceKeepers | None:
        """None for a roster that pays for nothing on Filecoin."""
        if roster.filecoin is None:
            return None
        return cls(roster.filecoin, tuple(one for one in roster.providers if one.kind == "filecoin"))


class PiecePlacing:
    """One root. `prepare` packs and plans, and raises before anything is paid; `ask` does it; `prove` reads back."""

    def __init__(
        self, store: DiskStore, root: CID, name: str, keepers: PieceKeepers, placements: Placements,
        options: PlaceOptions, env: Mapping[str, str] | None, on_placed: OnPlaced, stop: threading.Event,
    ) -> None:  # fmt: skip
        self._store, self._root, self._name, self._keepers = store, root, printable(name, 255), keepers
        self._placements, self._env = placements, os.environ if env is None else env
        self._on_placed, self._stop = on_placed, stop
        pace = Pace(options.wait_s, _POLL_S if options.pause_s else 0.0, self._sleep, lambda: check(stop))
        self._pace = pace
        self._rows: dict[str, Placed] = {}
        self._keeping: Keeping | None = None
        self._plan: Plan | None = None
        self._manifest: PieceManifest | None = None
        self._said_at = 0.0

    def prepare(self) -> Plan:
        """Pack, read the chain, and refuse what must not be paid. Raises `ConfigError`, `StoreError`, `PeerError`."""
        if not self._store.has(self._root):
            raise ConfigError(
                f"{self._root} is not in the repository: pieces are made of what is there",
                hint="`holdfast get` and `holdfast publish` bring it there",
            )
        self._manifest = manifest_for(self._store, self._root, lambda _done, _total: check(self._stop))
        self._keeping = Keeping(
            self._store, self._manifest, self._keepers.table, self._keepers.entries, self._env, pace=self._pace
        )
        self._plan = self._keeping.plan()
        refuse(self._plan)
        return self._plan

    def ask(self) -> None:
        """Each copy; the others fetch from the first that is whole. Never raises what a provider did."""
        assert self._plan is not None
        source: str | None = None
        for copy in self._plan.copies:
            if self._stop.is_set():
                return
            guarded(partial(self._copy, copy, source), partial(self._fail, copy), copy.entry.name)
            if source is None and self._rows[copy.entry.name].status is Status.PINNED:
                source = copy.entry.url

    def prove(self, read_back: ReadBack) -> None:
        """Leaves drawn at random, out of the pieces of each provider alone."""
        assert self._plan is not None
        for copy in self._plan.copies:
            row = self._rows.get(copy.entry.name)
            if row is not None and row.status is Status.PINNED:
                guarded(partial(self._prove, copy, read_back), partial(self._doubt, copy), copy.entry.name)

    @property
    def placed(self) -> list[Placed]:
        """A row for each copy, in the order of the plan."""
        return list(self._rows.values())

    def _copy(self, copy: PlannedCopy, source: str | None) -> None:
        assert self._keeping is not None
        assert self._manifest is not None
        self._note(copy, status=Status.PINNING, message="")

        def on_bytes(done: int, total: int) -> None:
            self._rows[copy.entry.name] = replace(self._rows[copy.entry.name], done_bytes=done, total_bytes=total)
            if time.monotonic() - self._said_at > _SAY_S:
                self._said_at = time.monotonic()
                self._on_placed(self._rows[copy.entry.name])

        found = self._keeping.keep(copy, source, on_bytes)
        sets = sorted({found.active[piece.cid].data_set for piece in self._manifest.pieces})
        where = ", ".join(map(str, sets))
        promised = self._rows[copy.entry.name].promised_us or now_us()
        self._note(copy, status=Status.PINNED, requestid=where, promised_us=promised)

    def _prove(self, copy: PlannedCopy, read_back: ReadBack) -> None:
        assert self._manifest is not None
        endpoint = Endpoint(copy.entry.url, copy.entry.headers(self._env), copy.entry.ca_file, copy.guard)
        source = PieceSource(copy.entry.name, endpoint, self._manifest)
        try:
            problem = read_back.problem(source, lambda: check(self._stop))
        finally:
            source.close()
        if problem:
            self._note(copy, message=f"its pieces are on the chain, but {printable(problem)}")
        else:
            self._note(copy, message="", proven_us=now_us(), leaves=read_back.leaves)

    def _fail(self, copy: PlannedCopy, why: str) -> None:
        self._note(copy, status=Status.FAILED, message=why)

    def _doubt(self, copy: PlannedCopy, why: str) -> None:
        self._note(copy, message=why)

    def _note(self, copy: PlannedCopy, **changes: object) -> None:
        entry = copy.entry
        before = self._rows.get(entry.name)
        if before is None:
            known = [one for one in self._placements.of(self._root, entry.name) if one.url == entry.url]
            promised = known[0].promised_us if known else 0
            before = Placed(
                entry.name, entry.url, self._root, entry.kind, self._name, "", Status.QUEUED, promised_us=promised
            )
        self._rows[entry.name] = replace(before, **changes)  # type: ignore[arg-type]
        self._placements.note(self._rows[entry.name])
        self._on_placed(self._rows[entry.name])

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)
        check(self._stop)
