"""The nouns of the planner: wants, flights, and what it tells the engine to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import PeerError

Key = tuple[int, int]  # object, leaf


class SupersededError(PeerError):
    """Our own decision: another source was faster. Nobody's fault, never counted."""

    verdict = "SUPERSEDED"


@dataclass(slots=True)
class Want:
    """One leaf that is needed."""

    key: Key
    length: int
    urgency: float
    progress_at: float
    tried_at: float = 0.0  # when a source failed it first
    flights: int = 0
    tried: dict[str, str] = field(default_factory=dict)  # source → what it did, for messages
    banned: set[str] = field(default_factory=set)
    reached: dict[str, int] = field(default_factory=dict)  # source → how many bytes of it came at best


@dataclass(slots=True)
class Flight:
    """One request: leaves [next, last) of `object` are still to come."""

    id: int
    source: str
    object: int
    first: int
    last: int
    next: int
    run_bytes: int
    started_at: float
    received: int = 0
    base: int = 0  # of `received`, when the leaf before `next` came
    mark_at: float = 0.0
    mark_received: int = 0
    moved_at: float = 0.0
    helped: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Start this request."""

    flight: int
    source: str
    object: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel this request, for this reason."""

    flight: int
    reason: PeerError
