"""`place`: have every provider of a roster keep a root, at once; note what each promised and what was proven."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import cast

from ...configs.roster import Provider, Roster
from ...storage.blocks.car_file import car_parts
from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID
from ...storage.errors import ConfigError, HoldfastError, PeerError, UnavailableError
from ...storage.pins.pin import Pin, Status
from ...storage.pins.target import CarTarget, PinTarget
from ...storage.pins.targets import TARGET_KINDS, target_of
from ...storage.pins.wait import Requested, wait
from ...storage.sources.from_roster import reading_side
from .origin import Origin
from .read_back import DEFAULT_LEAVES, ReadBack
from .state import UNPROVEN, Placed, Placements

_MAX_THREADS = 16
_TRIES = 3  # of what may be the road's fault
_PAUSE_S = 1.0  # before the second; twice that before the third
DEFAULT_WAIT_S = 3600.0

OnPlaced = Callable[[Placed], None]


@dataclass(frozen=True, slots=True)
class PlaceOptions:
    """`origins`: where providers may fetch from; none: from a peer that is run here meanwhile. `wait_s`: for a provider
    that fetches. `leaves`: read back from each.
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
    sent it. `on_placed` is told of each change of state, from several threads.
    """
    options, env = options or PlaceOptions(), os.environ if env is None else env
    read_back = ReadBack(store, root, options.leaves)
    with ExitStack() as stack:
        pulling = [provider for provider in providers if not target_of(provider, env).takes_cars]
        if pulling and not options.origins:
            origin = stack.enter_context(Origin(store, pulling[0].url))
            options = replace(options, origins=origin.urls)
        pool = stack.enter_context(
            ThreadPoolExecutor(min(len(providers), _MAX_THREADS) or 1, thread_name_prefix="holdfast-place")
        )
        jobs = [
            pool.submit(_Placing(store, root, name, provider, placements, options, env, on_placed).run, read_back)
            for provider in providers
        ]
        return [job.result() for job in jobs]


class _Placing:
    """One provider."""

    def __init__(
        self, store: DiskStore, root: CID, name: str, provider: Provider, placements: Placements,
        options: PlaceOptions, env: Mapping[str, str], on_placed: OnPlaced,
    ) -> None:  # fmt: skip
        self._store, self._provider, self._placements = store, provider, placements
        self._options, self._env, self._on_placed = options, env, on_placed
        before = placements.of(root, provider.name)
        self._placed = (
            replace(before[0], kind=provider.kind, name=name)
            if before
            else Placed(provider.name, root, provider.kind, name, "", Status.QUEUED)
        )

    def run(self, read_back: ReadBack) -> Placed:
        """Ask, wait, read back; never raises what a provider did."""
        try:
            pin = self._again(self._ask)
            self._note(
                status=pin.status, requestid=pin.requestid, message=pin.error,
                promised_us=self._placed.promised_us or _now_us() if pin.status is Status.PINNED else 0,
            )  # fmt: skip
            if pin.status is Status.PINNED:
                self._prove(read_back)
        except HoldfastError as error:
            self._note(status=Status.FAILED, message=error.message)
        return self._placed

    def _ask(self) -> Pin:
        target, root = target_of(self._provider, self._env), self._placed.root
        try:
            known = target.ls(root, (Status.PINNED,))
            if known:
                return known[0]
            if target.takes_cars:
                self._note(status=Status.PINNING, message="")
                pushed = cast(CarTarget, target)
                return pushed.push(root, self._placed.name, car_parts(self._store, root))
            pin = target.add(root, self._placed.name, self._options.origins)
            self._note(status=pin.status, requestid=pin.requestid, message="")
            return self._waited(target, pin)
        finally:
            target.close()

    def _waited(self, target: PinTarget, pin: Pin) -> Pin:
        seen = pin.status

        def on_progress(item: Requested) -> None:
            nonlocal seen
            if item.pin.status is not seen:
                seen = item.pin.status
                self._note(status=seen, requestid=item.pin.requestid, message=item.pin.error)

        try:
            return wait([Requested(target, pin)], self._options.wait_s, on_progress)[0].pin
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
                time.sleep(self._options.pause_s * 2**number)
        return ask()

    def _prove(self, read_back: ReadBack) -> None:
        source = reading_side(self._provider, self._env)
        if source is None:
            self._note(message=UNPROVEN)
            return
        try:
            problem = read_back.problem(source)
        finally:
            source.close()
        if problem:
            self._note(message=f"it says pinned, but {problem}", proven_us=0, leaves=0)
        else:
            self._note(message="", proven_us=_now_us(), leaves=read_back.leaves)

    def _note(self, **changes: object) -> None:
        self._placed = replace(self._placed, **changes)  # type: ignore[arg-type]
        self._placements.note(self._placed)
        self._on_placed(self._placed)


def _now_us() -> int:
    return time.time_ns() // 1000
