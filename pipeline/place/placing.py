"""`Placing`: have one provider keep one root: ask, send or wait, read back; note each change of state."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

from ...configs.roster import Provider
from ...storage.blocks.car_file import cars
from ...storage.blocks.disk import DiskStore
from ...storage.blocks.overlap import overlap
from ...storage.cid import CID
from ...storage.errors import HoldfastError, IncompleteError, UnavailableError
from ...storage.pins.pin import Pin, Status
from ...storage.pins.target import CarTarget, PinTarget
from ...storage.pins.targets import target_of
from ...storage.pins.wait import Requested, wait
from ...storage.printable import printable
from ...storage.sources.from_roster import reading_side
from .read_back import DEFAULT_LEAVES, ReadBack
from .sent_before import SentBefore
from .state import NOTHING_HERE, UNPROVEN, Placed, Placements
from .trying import LOG, PAUSE_S, check, guarded, retried

CARS = 2  # sent to one Kubo at once: a quarter faster than one on two cores; a third gains nothing
_SAY_S = 1.0  # between two words of how far it is
DEFAULT_WAIT_S = 3600.0

OnPlaced = Callable[[Placed], None]


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """`origins`: where providers may fetch from; none: from a gateway that is run here meanwhile. `wait_s`: for a
    provider that fetches. `leaves`: read back from each. `pause_s`: before it is asked a second time.
    """

    origins: tuple[str, ...] = ()
    wait_s: float = DEFAULT_WAIT_S
    leaves: int = DEFAULT_LEAVES
    pause_s: float = PAUSE_S


class Placing:
    """One root at one provider. Construction reads what was noted of them."""

    def __init__(
        self, store: DiskStore, root: CID, name: str, provider: Provider, placements: Placements,
        options: PlaceOptions, env: Mapping[str, str], on_placed: OnPlaced, stop: threading.Event,
    ) -> None:  # fmt: skip
        self.provider = provider
        self._origins: tuple[str, ...] = ()
        self._store, self._placements, self._stop = store, placements, stop
        self._options, self._env, self._on_placed = options, env, on_placed
        self.takes_cars = target_of(provider, env).takes_cars
        self._said_at, self._lock = time.monotonic(), threading.Lock()
        before = [one for one in placements.of(root, provider.name) if one.url == provider.url]
        promised_us = before[0].promised_us if before else 0
        self._began = bool(before) and before[0].status in (Status.PINNING, Status.FAILED)  # a push, that was cut
        self.placed = Placed(
            provider.name,
            provider.url,
            root,
            provider.kind,
            printable(name, 255),
            "",
            Status.QUEUED,
            promised_us=promised_us,
        )

    def ask(self, origins: tuple[str, ...]) -> None:
        """Ask, and wait while it fetches from `origins`; never raises what the provider did.

        What was proven before counts no more from now on.
        """
        self._origins = origins
        self._guarded(self._ask_and_note)

    def prove(self, read_back: ReadBack) -> None:
        """Read back, if it promised anything."""
        if self.placed.status is Status.PINNED:
            self._guarded(lambda: self._prove(read_back))

    def _guarded(self, step: Callable[[], None]) -> None:
        guarded(step, lambda why: self._note(status=Status.FAILED, message=why), self.provider.name)

    def _ask_and_note(self) -> None:
        pin = retried(self._ask, self._options.pause_s, self._stop)
        promised_us = self.placed.promised_us
        if pin.status is Status.PINNED and not promised_us:
            promised_us = now_us()
        self._note(status=pin.status, requestid=pin.requestid, message=printable(pin.error), promised_us=promised_us)

    def _ask(self) -> Pin:
        target, root = target_of(self.provider, self._env), self.placed.root
        try:
            known = target.ls(root, (Status.PINNED,))
            if known:
                return known[0]
            if target.takes_cars:
                self._note(status=Status.PINNING, message="")
                return self._push(cast(CarTarget, target))
            pin = target.add(root, self.placed.name, self._origins)
            self._note(status=pin.status, requestid=pin.requestid, message="")
            return self._waited(target, pin)
        finally:
            target.close()

    def _push(self, target: CarTarget) -> Pin:
        """What it lacks of the version before, if it keeps that, and of a push that was cut; if that was wrong, all."""
        there: Container[CID] = self._there(target)
        is_part = bool(there) or self._began
        if self._began:
            there = SentBefore(target, there)
        self._began = True
        if is_part:
            try:
                return self._send(target, there)
            except IncompleteError as error:
                LOG.info("%s: %s; all of it is sent", self.placed.provider, error.message)
        return self._send(target, frozenset())

    def _send(self, target: CarTarget, there: Container[CID]) -> Pin:
        self._progress(0)
        sending = [self._counted(car) for car in cars(self._store, [self.placed.root], CARS, there)]
        return target.push(self.placed.root, self.placed.name, sending, self._check)

    def _there(self, target: CarTarget) -> frozenset[CID]:
        """What the version before, under the same name, shares with this one, if it is pinned there still."""
        name = self.placed.name
        before = self._placements.last(self.placed.provider, self.placed.url, name) if name else None
        if before is None or not target.ls(before, (Status.PINNED,)):
            return frozenset()
        try:
            return overlap(self._store, before, self.placed.root)
        except HoldfastError:  # it is not in the repository any more
            return frozenset()

    def _counted(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            self._check()
            yield part
            with self._lock:  # several CARs at once
                self._progress(self.placed.done_bytes + len(part))

    def _progress(self, done: int, total: int = 0) -> None:
        """Bytes so far are said now and then, and never noted."""
        self.placed = replace(self.placed, done_bytes=done, total_bytes=total)
        if time.monotonic() - self._said_at > _SAY_S:
            self._said_at = time.monotonic()
            self._on_placed(self.placed)

    def _waited(self, target: PinTarget, pin: Pin) -> Pin:
        seen = pin.status

        def on_progress(item: Requested) -> None:
            nonlocal seen
            if progress := item.pin.progress():
                self._progress(*progress)
            if item.pin.status is not seen:
                seen = item.pin.status
                self._note(status=seen, requestid=item.pin.requestid, message=printable(item.pin.error))

        def sleep(seconds: float) -> None:
            self._stop.wait(seconds)
            self._check()

        try:
            return wait([Requested(target, pin)], self._options.wait_s, on_progress, sleep=sleep)[0].pin
        except UnavailableError:
            return target.status(pin.requestid)  # still under way there: said so, and no failure

    def _prove(self, read_back: ReadBack) -> None:
        source = reading_side(self.provider, self._env)
        if source is None or not read_back.possible:
            self._note(message=UNPROVEN if source is None else NOTHING_HERE)
            return
        try:
            problem = read_back.problem(source, self._check)
        finally:
            source.close()
        if problem:
            self._note(message=f"it says pinned, but {printable(problem)}")
        else:
            self._note(message="", proven_us=now_us(), leaves=read_back.leaves)

    def _check(self) -> None:
        check(self._stop)

    def _note(self, **changes: object) -> None:
        self.placed = replace(self.placed, **changes)  # type: ignore[arg-type]
        self._placements.note(self.placed)
        self._on_placed(self.placed)


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
