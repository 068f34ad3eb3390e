"""A swarm of sources on a virtual clock: drives the real planner, takes no real time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.storage.errors import MissingError, PeerError, UnreachableError, WrongBytesError
from holdfast.storage.fetch.planner import Planner
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.scoreboard import Score
from holdfast.storage.fetch.work import Start

TICK_S = 0.05


@dataclass
class Peer:
    """One source: bytes per second per request, latency, and what it does wrong (each a function of time or leaf)."""

    name: str
    rate: float = 10e6
    latency_s: float = 0.02
    dead: Callable[[float], bool] = lambda _now: False
    wrong: Callable[[int, int], bool] = lambda _object, _leaf: False
    missing: Callable[[int], bool] = lambda _object: False
    silent: Callable[[float], bool] = lambda _now: False
    max_rate: int | None = None
    stalls_at: int | None = None  # bytes into each answer, for ever
    busy: Callable[[float], float] = lambda _now: 0.0  # answers 429 with this Retry-After, unless it is 0


@dataclass
class _Flight:
    start: Start
    begun: float
    due: list[tuple[float, int]]  # (when, leaf)
    error: tuple[float, PeerError] | None = None


@dataclass
class Swarm:
    """Runs until every want is met or failed, or `limit_s` of virtual time passed."""

    peers: list[Peer]
    policy: FetchPolicy = field(default_factory=FetchPolicy)
    now: float = 0.0
    sent: dict[str, int] = field(default_factory=dict)
    log: list[tuple[float, str, int, int, int]] = field(default_factory=list)
    done_at: dict[tuple[int, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planner = Planner([Score(peer.name, peer.max_rate) for peer in self.peers], self.policy)
        self._flights: dict[int, _Flight] = {}
        self._counter = itertools.count()
        self._lengths: dict[tuple[int, int], int] = {}

    def want(
        self, object_id: int, leaves: range, length: int = 1 << 20, urgency: Callable[[int], float] = float
    ) -> None:
        for leaf in leaves:
            self._lengths[(object_id, leaf)] = length
            self.planner.want(object_id, leaf, length, urgency(leaf), self.now)

    def run(self, limit_s: float = 600.0) -> Swarm:
        while self.planner.wants and self.now < limit_s:
            while len(self._flights) < self.policy.threads and (start := self.planner.next(self.now)) is not None:
                self._begin(start)
            self._advance()
        return self

    def _peer(self, name: str) -> Peer:
        return next(peer for peer in self.peers if peer.name == name)

    def _begin(self, start: Start) -> None:
        peer, now = self._peer(start.source), self.now
        self.log.append((now, start.source, start.object, start.first, start.last))
        flight = self._flights[start.flight] = _Flight(start, now, [])
        if peer.dead(now):
            flight.error = (now + 0.001, UnreachableError("refused"))
        elif retry_after_s := peer.busy(now):
            refusal = UnreachableError("429")
            refusal.retry_after_s = retry_after_s
            flight.error = (now + peer.latency_s, refusal)
        elif peer.missing(start.object):
            flight.error = (now + peer.latency_s, MissingError("404"))
        elif not peer.silent(now):
            at = now + peer.latency_s
            for leaf in range(start.first, start.last):
                at += self._lengths[(start.object, leaf)] / peer.rate
                if peer.stalls_at is None or (at - now - peer.latency_s) * peer.rate <= peer.stalls_at:
                    flight.due.append((at, leaf))

    def _advance(self) -> None:
        """To the next event of any flight, or the next tick."""
        step = self.now + TICK_S
        events = [(flight.due[0][0], 0, number) for number, flight in self._flights.items() if flight.due]
        events += [(flight.error[0], 1, number) for number, flight in self._flights.items() if flight.error]
        heapq.heapify(events)
        if events and events[0][0] <= step:
            self.now, kind, number = heapq.heappop(events)
            self._event(number, error=kind == 1)
        else:
            self.now = step
        self._tick()

    def _event(self, number: int, *, error: bool) -> None:
        flight = self._flights[number]
        peer = self._peer(flight.start.source)
        if error:
            assert flight.error
            self._end(number, flight.error[1])
            return
        _, leaf = flight.due.pop(0)
        if peer.dead(self.now):
            self._end(number, UnreachableError("reset"))
            return
        key = (flight.start.object, leaf)
        self.sent[peer.name] = self.sent.get(peer.name, 0) + self._lengths[key]
        if peer.wrong(*key):
            self._end(number, WrongBytesError("flipped"))
            return
        if key in self.planner.wants:
            self.done_at[key] = self.now
        more = self.planner.arrived(number, leaf, self.now)
        if not more or not flight.due:
            self._end(number, None)

    def _end(self, number: int, error: PeerError | None) -> None:
        flight = self._flights.pop(number)
        self.planner.progressed(number, self._received(flight), self.now)
        self.planner.ended(number, error, self.now, self._peer(flight.start.source).latency_s)

    def _received(self, flight: _Flight) -> int:
        peer = self._peer(flight.start.source)
        if peer.silent(flight.begun) or flight.error or peer.dead(self.now):
            return 0
        received = int(max(self.now - flight.begun - peer.latency_s, 0.0) * peer.rate)
        return received if peer.stalls_at is None else min(received, peer.stalls_at)

    def _tick(self) -> None:
        for number, flight in self._flights.items():
            if not self._peer(flight.start.source).silent(self.now):
                self.planner.progressed(number, self._received(flight), self.now)
        for cancel in self.planner.tick(self.now):
            if cancel.flight in self._flights:
                self._end(cancel.flight, cancel.reason)
