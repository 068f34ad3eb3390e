"""`FetchPolicy`: what the planner may do, with units."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..limits import MIB, TransferLimits


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """Limits and aims of one engine. The named extremes are for tests and experiments."""

    threads: int = 8  # requests in flight over all sources
    run_bytes: int = 4 * MIB  # longest run: longer ones gain nothing (facts: what reaches the ceiling),
    max_run_bytes: int = 64 * MIB  # but where an answer takes long to begin: then a run is to last four times as long
    run_aim_s: float = 0.5  # a run should take about so long: a slow source gets shorter ones
    max_window: int = 4  # requests in flight to one source: more only share the line and the cores,
    far_s: float = 0.02  # but while answers take this long to begin, and that is a quarter of them or more,
    far_window: int = 8  # others can use the line meanwhile
    progress_deadline_s: float = 30.0  # without any source making progress on a leaf
    hard_deadline_factor: float = 10.0  # drippers that take turns cannot hold a leaf longer than this many deadlines
    stall_s: float = 0.5  # a request without a byte for so long may be hedged
    hedge_share: float = 0.05  # extra bytes, as a share of all
    hedge_slack_bytes: int = 2 * MIB
    backoff_s: float = 0.25  # after the first failure; doubles
    max_backoff_s: float = 2.0  # a source that came back should not be waited for: one request in two seconds is cheap
    missing_s: float = 10.0  # how long a 404 is believed
    transfer: TransferLimits = field(default_factory=TransferLimits)
