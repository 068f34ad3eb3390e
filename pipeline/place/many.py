"""`place_many`: have every provider keep many roots, with few calls where one takes many at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from ...configs.roster import Provider
from ...storage.blocks.car_file import cars
from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID, DAG_PB
from ...storage.dag import dagpb
from ...storage.errors import (
    ConfigError,
    HoldfastError,
    QuotaError,
    SlowError,
    UnreachableError,
)
from ...storage.pins.pin import Pin, Status
from ...storage.pins.target import CarTarget
from ...storage.pins.targets import target_of
from ...storage.printable import printable
from ...storage.sources.from_roster import readable, reading_side
from ..batches import batches
from .at_once import each
from .origin import origins_towards
from .placing import CARS, PlaceOptions, Placing, now_us
from .read_back_many import read_back_many
from .state import UNPROVEN, Placed, Placements
from .trying import check, guarded, retried

_BATCH, _BATCH_BYTES = 500, 1 << 30  # roots of one CAR, and of one transaction
_LARGE_BYTES = 64 << 20  # a batch is sent as several CARs at once
_PUSHING = 2  # batches at once, which is what a kill loses: one is sent while a Kubo pins the other, one by one
_ASKING = 8  # at once, of a provider that is asked root by root
_LOOK = 50  # roots, before it is looked whether their provider still answers
_ABSENT = "it is not in the repository here, to be sent"

OnMany = Callable[[str, int, int], None]


def place_many(
    store: DiskStore,
    wanted: Mapping[CID, str],
    providers: Sequence[Provider],
    placements: Placements,
    *,
    options: PlaceOptions | None = None,
    env: Mapping[str, str] | None = None,
    on_many: OnMany = lambda _provider, _done, _total: None,
) -> list[Placed]:
    """One clear state for each provider and root (`wanted`: with their names), as `place` has for one root.

    A Kubo is sent 500 DAGs in one CAR, and asked for 100 pins in one call; others are asked root by root, 8 at once.
    One block, drawn at random, of each root is read back. `on_many` is told how many roots a provider is done with, of
    how many, twice: while it is asked, and while it is read back. Errors and interrupts are as with `place`.
    """
    options, env, stop = options or PlaceOptions(), os.environ if env is None else env, threading.Event()
    jobs = [_Many(store, wanted, provider, placements, options, env, on_many, stop) for provider in providers]
    pulling = [job.provider.url for job in jobs if not job.takes_cars]
    with origins_towards(store, pulling, options.origins) as origins:
        each(jobs, lambda job: job.ask(() if job.takes_cars else origins(job.provider.url)), stop, outermost=True)
    each(jobs, _Many.prove, stop, outermost=True)
    return [placed for job in jobs for placed in job.placed.values()]


class _Many:
    """All roots at one provider."""

    def __init__(
        self, store: DiskStore, wanted: Mapping[CID, str], provider: Provider, placements: Placements,
        options: PlaceOptions, env: Mapping[str, str], on_many: OnMany, stop: threading.Event,
    ) -> None:  # fmt: skip
        self.provider = provider
        self._store, self._wanted, self._placements = store, wanted, placements
        self._options, self._env, self._on_many, self._stop = options, env, on_many, stop
        self._target = target_of(provider, env)
        self.takes_cars = self._target.takes_cars
        self.placed = {
            root: Placed(
                provider.name, provider.url, root, provider.kind, printable(name, 255), "", Status.QUEUED
            )
            for root, name in wanted.items()
        }  # fmt: skip
        self._done, self._counting = 0, threading.Lock()

    def ask(self, origins: tuple[str, ...]) -> None:
        """Ask and wait; never raises what the provider did."""
        try:
            guarded(self._push if self.takes_cars else lambda: self._one_by_one(origins), self._failed, self._name)
        finally:
            self._target.close()

    def prove(self) -> None:
        """Read a block of each root back, of what it promised; never raises what the provider did."""
        guarded(self._prove, self._failed, self._name)

    def _prove(self) -> None:
        promised = [one for one in self.placed.values() if one.kept]
        source = reading_side(self.provider, self._env)
        if source is None:
            self._note(replace(one, message=UNPROVEN) for one in promised if one.message != UNPROVEN)
            return
        self._done = 0
        try:
            read_back_many(self._store, promised, source, self._stop, self._note)
        finally:
            source.close()

    @property
    def _name(self) -> str:
        return self.provider.name

    def _push(self) -> None:
        """Send what it has not pinned yet, batch by batch."""
        noted = self._placements.of(provider=self._name)
        before = {one.root: one.promised_us for one in noted if one.kept and one.url == self.provider.url}
        here = {pin.cid.v1() for pin in retried(self._pinned, self._options.pause_s, self._stop)}
        self._note(self._answered(root, Status.PINNED, before.get(root, 0)) for root in self._wanted if root in here)
        missing = [root for root in self._wanted if root not in here]
        absent = {root for root in missing if not self._store.has(root)}
        self._note(replace(self.placed[root], status=Status.FAILED, message=_ABSENT) for root in absent)
        there = (root for root in missing if root not in absent)
        each(
            batches(there, self._dag_bytes, count=_BATCH, max_bytes=_BATCH_BYTES),
            self._push_batch,
            self._stop,
            _PUSHING,
        )

    def _push_batch(self, batch: Sequence[CID]) -> None:
        self._note([self._answered(pin.cid.v1(), pin.status, 0, pin) for pin in self._batch(batch)])

    def _dag_bytes(self, root: CID) -> int:
        """Of the DAG below a root, as its links say; 0 for a single block."""
        if root.codec != DAG_PB:
            return 0
        try:
            return sum(link.tsize or 0 for link in dagpb.decode(self._store.get(root).data).links)
        except HoldfastError:  # said when it is sent
            return 0

    def _pinned(self) -> list[Pin]:
        return self._target.ls(None, (Status.PINNED,))

    def _batch(self, batch: Sequence[CID]) -> list[Pin]:
        """One pin for each. Where a batch fails as a whole it is halved, until what is at fault stands alone."""
        try:
            return retried(lambda: self._sent(batch), self._options.pause_s, self._stop)
        except (UnreachableError, SlowError, QuotaError, ConfigError):  # of the provider, whatever it is sent
            raise
        except HoldfastError as error:
            if len(batch) == 1:
                return [Pin(str(batch[0]), batch[0], "", Status.FAILED, 0, (), {"error": error.message})]
        half = len(batch) // 2
        return [*self._batch(batch[:half]), *self._batch(batch[half:])]

    def _sent(self, batch: Sequence[CID]) -> list[Pin]:
        count = CARS if sum(map(self._dag_bytes, batch)) > _LARGE_BYTES else 1
        sending = [self._checked(car) for car in cars(self._store, batch, count)]
        named = [(root, self.placed[root].name) for root in batch]
        return cast(CarTarget, self._target).push_many(named, sending, lambda: check(self._stop))

    def _checked(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            check(self._stop)
            yield part

    def _answered(self, root: CID, status: Status, promised_us: int, pin: Pin | None = None) -> Placed:
        kept = status is Status.PINNED
        promised_us = (promised_us or now_us()) if kept else 0
        message = UNPROVEN if kept and not readable(self.provider) else printable(pin.error if pin else "")
        requestid = pin.requestid if pin else str(root)
        return replace(self.placed[root], status=status, requestid=requestid, promised_us=promised_us, message=message)

    def _one_by_one(self, origins: tuple[str, ...]) -> None:
        def ask(root: CID) -> None:
            one = Placing(
                self._store, root, self._wanted[root], self.provider, self._placements, self._options, self._env,
                lambda _: None, self._stop,
            )  # fmt: skip
            one.ask(origins)
            self.placed[root] = one.placed
            self._say(1)

        for batch in self._looks(list(self._wanted)):
            retried(partial(self._target.ls, batch[0], (Status.PINNED,)), self._options.pause_s, self._stop)
            each(batch, ask, self._stop, _ASKING)

    def _looks(self, roots: Sequence[CID]) -> Iterator[Sequence[CID]]:
        """So few at a time that one who answers no more is noticed, and not asked for thousands more."""
        return (roots[at : at + _LOOK] for at in range(0, len(roots), _LOOK))

    def _failed(self, why: str) -> None:
        """All that it did not answer for; what it promised, and was not read back, counts as little."""
        waiting = [one for one in self.placed.values() if not one.status.final]
        self._note(replace(one, status=Status.FAILED, message=why) for one in waiting)
        unread = [one for one in self.placed.values() if one.kept and not one.counts and not one.message]
        self._note(replace(one, message=why) for one in unread)

    def _note(self, found: Iterable[Placed]) -> None:
        rows = list(found)
        self.placed |= {one.root: one for one in rows}
        self._placements.note_all(rows)
        self._say(len(rows))

    def _say(self, more: int) -> None:
        with self._counting:
            self._done += more
            self._on_many(self._name, min(self._done, len(self._wanted)), len(self._wanted))
