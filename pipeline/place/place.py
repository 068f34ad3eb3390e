"""`place`: have every provider of a roster keep a root, at once; note what each promised and what was proven.

Two steps. All are asked, and fetch or are sent what they lack. Then, with nothing of ours to be fetched from any more,
each of them is read back alone: what it gives now it has, or gets from somebody else.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import cast

from ...configs.roster import Provider, Roster
from ...storage.blocks.car_file import cars
from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID
from ...storage.errors import ConfigError, HoldfastError, PeerError, UnavailableError
from ...storage.pins.pin import Pin, Status
from ...storage.pins.target import CarTarget, PinTarget
from ...storage.pins.targets import TARGET_KINDS, target_of
from ...storage.pins.wait import Requested, wait
from ...storage.printable import printable
from ...storage.sources.from_roster import reading_side
from .origin import Origin
from .read_back import DEFAULT_LEAVES, ReadBack
from .state import NOTHING_HERE, UNPROVEN, Placed, Placements

LOG = logging.getLogger("holdfast.place")
_MAX_THREADS = 16
_CARS = 2  # sent to one Kubo at once: a quarter faster than one on two cores; a third gains nothing
_TRIES = 3  # of what may be the road's fault
_PAUSE_S = 1.0  # before the second; twice that before the third
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
    pause_s: float = _PAUSE_S


def keepers_of(roster: Roster) -> list[Provider]:
    """The providers of a roster that can be asked to keep something. Raises `ConfigError` when there is none."""
    found = [provider for provider in roster.providers if provider.kind in TARGET_KINDS]
    if not found:
        raise ConfigError("nobody in the roster keeps data", hint=f"add a provider of kind {', '.join(TARGET_KINDS)}")
    return found


def place(
    store: DiskStore,
    root: CID,
    name: str,
    providers: Sequence[Provider],
    placements: Placements,
    *,
    options: PlaceOptions | None = None,
    env: Mapping[str, str] | None = None,
    on_placed: OnPlaced = lambda _: None,
) -> list[Placed]:
    """One clear state for each provider, in their order; what one does wrong stops no other.

    Said again, it asks only for what is not there yet. The whole DAG must be in the repository where a provider is
    sent it, and for anything to count as proven. `on_placed` is told of each change of state, from several threads.
    Raises `ConfigError` and `StoreError` before anybody is asked. An interrupt ends the calls under way.
    """
    options, env = options or PlaceOptions(), os.environ if env is None else env
    read_back = ReadBack(store, root, options.leaves)
    stop = threading.Event()
    jobs = [_Placing(store, root, name, one, placements, options, env, on_placed, stop) for one in providers]
    pulling = [job.provider.url for job in jobs if not job.takes_cars]
    origin = Origin(store, pulling) if pulling and not options.origins else nullcontext()
    with origin as running:
        for job in jobs:
            if running is not None and not job.takes_cars:
                job.origins = running.urls(job.provider.url)
        _each(jobs, _Placing.ask, stop)
    _each(jobs, lambda job: job.prove(read_back), stop)
    return [job.placed for job in jobs]


def _each(jobs: Sequence[_Placing], step: Callable[[_Placing], None], stop: threading.Event) -> None:
    with ThreadPoolExecutor(min(len(jobs), _MAX_THREADS) or 1, thread_name_prefix="holdfast-place") as pool:
        futures = [pool.submit(step, job) for job in jobs]
        try:
            for future in futures:
                future.result()
        except BaseException:  # an interrupt: else this would wait for all that is under way, and start the rest
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Stopped(Exception):  # noqa: N818 - no error: the user's wish
    """The user interrupted."""


class _Placing:
    """One provider."""

    def __init__(
        self, store: DiskStore, root: CID, name: str, provider: Provider, placements: Placements,
        options: PlaceOptions, env: Mapping[str, str], on_placed: OnPlaced, stop: threading.Event,
    ) -> None:  # fmt: skip
        self.provider, self.origins = provider, options.origins
        self._store, self._placements, self._stop = store, placements, stop
        self._options, self._env, self._on_placed = options, env, on_placed
        self.takes_cars = target_of(provider, env).takes_cars
        before = [one for one in placements.of(root, provider.name) if one.url == provider.url]
        promised_us = before[0].promised_us if before else 0
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

    def ask(self) -> None:
        """Ask and wait; never raises what the provider did. What was proven before counts no more from now on."""
        self._guarded(self._ask_and_note)

    def prove(self, read_back: ReadBack) -> None:
        """Read back, if it promised anything."""
        if self.placed.status is Status.PINNED:
            self._guarded(lambda: self._prove(read_back))

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except _Stopped:
            pass
        except HoldfastError as error:
            self._note(status=Status.FAILED, message=printable(error.message))
        except Exception as error:
            LOG.exception("a bug of holdfast, in what %s answered", self.provider.name)
            self._note(status=Status.FAILED, message=f"a bug of holdfast: {type(error).__name__}")

    def _ask_and_note(self) -> None:
        pin = self._again(self._ask)
        promised_us = self.placed.promised_us
        if pin.status is Status.PINNED and not promised_us:
            promised_us = _now_us()
        self._note(status=pin.status, requestid=pin.requestid, message=printable(pin.error), promised_us=promised_us)

    def _ask(self) -> Pin:
        target, root = target_of(self.provider, self._env), self.placed.root
        try:
            known = target.ls(root, (Status.PINNED,))
            if known:
                return known[0]
            if target.takes_cars:
                self._note(status=Status.PINNING, message="")
                sending = [self._checked(car) for car in cars(self._store, root, _CARS)]
                return cast(CarTarget, target).push(root, self.placed.name, sending, self._check)
            pin = target.add(root, self.placed.name, self.origins)
            self._note(status=pin.status, requestid=pin.requestid, message="")
            return self._waited(target, pin)
        finally:
            target.close()

    def _checked(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        for part in parts:
            self._check()
            yield part

    def _waited(self, target: PinTarget, pin: Pin) -> Pin:
        seen = pin.status

        def on_progress(item: Requested) -> None:
            nonlocal seen
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

    def _again(self, ask: Callable[[], Pin]) -> Pin:
        """Asking is idempotent: what may have been the road is asked again."""
        for number in range(_TRIES - 1):
            try:
                return ask()
            except PeerError as error:
                if not error.retryable:
                    raise
            self._stop.wait(self._options.pause_s * 2**number)
            self._check()
        return ask()

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
            self._note(message="", proven_us=_now_us(), leaves=read_back.leaves)

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Stopped

    def _note(self, **changes: object) -> None:
        self.placed = replace(self.placed, **changes)  # type: ignore[arg-type]
        self._placements.note(self.placed)
        self._on_placed(self.placed)


def _now_us() -> int:
    return time.time_ns() // 1000
