"""`Score`: what we know of one source, from what it did. Pure: the clock is an argument."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from ..errors import OversizeError, PeerError, SlowError, UnreachableError, WrongBytesError
from .policy import FetchPolicy

_EWMA = 0.3  # weight of the newest observation
_FIRST_RATE = 8e6  # bytes per second, until we know better
_FIRST_LATENCY_S = 0.05


class State(StrEnum):
    """How a source stands."""

    GOOD = "good"
    DOWN = "down"  # failed lately; asked again after a pause
    DEMOTED = "demoted"  # sent wrong bytes: the last resort, for leaves that it did not falsify


@dataclass(slots=True)
class Score:
    """One source's record. Times in seconds of the engine's clock."""

    name: str
    max_rate: int | None = None
    window: int = 4  # requests at once to begin with: four nodes of one file are one round trip
    in_flight: int = 0
    in_flight_bytes: int = 0
    latency_s: float = _FIRST_LATENCY_S
    rate: float = _FIRST_RATE
    failures: int = 0
    retry_at: float = 0.0
    allowed_at: float = 0.0  # by max_rate
    demoted: bool = False
    trusted: bool = True
    requests: int = 0
    bytes: int = 0
    wrong: int = 0
    last: str = ""
    verdicts: Counter[str] = field(default_factory=Counter)

    def state(self) -> State:
        """The word for tables."""
        if self.demoted:
            return State.DEMOTED
        return State.DOWN if self.failures else State.GOOD

    def snapshot(self, url: str, coming_bytes: int) -> SourceStats:
        """What there is to say of it now; `coming_bytes` came of answers that are under way."""
        received, verdicts = self.bytes + coming_bytes, dict(self.verdicts)
        return SourceStats(self.name, url, self.requests, received, self.wrong, verdicts, self.state().value)

    def ready(self, now: float) -> bool:
        """Whether another request may start now. After a failure: one, to see (half-open)."""
        room = 1 if self.failures or self.demoted else self.window
        return self.in_flight < room and now >= self.retry_at and now >= self.allowed_at

    def ready_at(self, now: float) -> float:
        """When time alone may make it ready; infinity if only the end of a request can."""
        if self.in_flight >= (1 if self.failures or self.demoted else self.window):
            return float("inf")
        return max(self.retry_at, self.allowed_at, now)

    def expected_s(self, run_bytes: int) -> float:
        """How long a run of so many bytes would take, behind what is in flight already."""
        return self.latency_s + (self.in_flight_bytes + run_bytes) / self.rate

    def run_bytes(self, policy: FetchPolicy) -> int:
        """The longest run to ask for now. Of a source that lied, a leaf at a time."""
        if self.demoted:
            return 1
        rate = min(self.rate, self.max_rate * 0.5) if self.max_rate else self.rate
        longest = max(policy.run_bytes, min(policy.max_run_bytes, int(4 * self.latency_s * rate)))
        return int(min(longest, max(rate * policy.run_aim_s, 1)))

    def start(self, run_bytes: int, now: float) -> None:
        """A request goes out."""
        self.requests += 1
        self.in_flight += 1
        self.in_flight_bytes += run_bytes
        if self.max_rate:
            self.allowed_at = max(self.allowed_at, now) + run_bytes / self.max_rate

    def end(self, run_bytes: int) -> None:
        """A request is over, however."""
        self.in_flight -= 1
        self.in_flight_bytes -= run_bytes

    def succeeded(self, received: int, first_byte_s: float, elapsed_s: float, policy: FetchPolicy) -> None:
        """An answer that held to its end."""
        self.verdicts["OK"] += 1
        self.failures = 0
        self.last = "OK"
        self.latency_s += _EWMA * (first_byte_s - self.latency_s)
        if received >= 4096:
            # the share of each of the requests in flight: the whole line's rate is what the window multiplies
            seen = received / max(elapsed_s - first_byte_s * 0.5, 1e-4)
            if seen > 0.5 * self.rate or self.window > 2:
                self._widen(policy, first_byte_s > max(policy.far_s, elapsed_s / 4))
            if seen < 0.25 * self.rate:
                self.window = max(self.window - 1, 1)
            self.rate += _EWMA * (seen - self.rate)
        else:  # all latency: it says nothing of the rate, and only more requests at once make it quicker
            self._widen(policy, first_byte_s > policy.far_s)

    def _widen(self, policy: FetchPolicy, far: bool) -> None:
        limit = policy.far_window if far else policy.max_window
        self.window = max(min(self.window + 1, limit), self.window - 1)

    def failed(self, error: PeerError, now: float, policy: FetchPolicy, jitter: float) -> None:
        """An answer that broke. `jitter` is in [0, 1)."""
        self.verdicts[error.verdict] += 1
        self.last = f"{error.verdict} ({error.message})"
        if isinstance(error, (WrongBytesError, OversizeError)):
            self.wrong += 1
            self.demoted = True
        if error.retryable:
            self.failures += 1
            self.window = max(self.window // 2, 1)
            pause = min(policy.backoff_s * 2 ** min(self.failures - 1, 10), policy.max_backoff_s)
            pause *= 0.5 + jitter / 2
            if isinstance(error, UnreachableError) and error.retry_after_s:
                pause = max(pause, error.retry_after_s * (1 + jitter / 4))  # never sooner, and not all at once
            self.retry_at = max(self.retry_at, now + pause)
        if isinstance(error, SlowError):
            self.rate *= 0.5


@dataclass(frozen=True, slots=True)
class SourceStats:
    """A frozen snapshot of one source for tables and reports.

    `bytes` are body bytes received, `wrong` the answers that failed verification (framing included), `verdicts`
    how often each word was its verdict, `state` one of `State`.
    """

    name: str
    url: str
    requests: int
    bytes: int
    wrong: int
    verdicts: dict[str, int]
    state: str
