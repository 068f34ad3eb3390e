"""`Planner`: which leaves to ask of which source, now. Pure: no IO, no clock, no random source of its own.

What it holds:
* *wants*: leaves (or single blocks) that somebody needs, each with an urgency (lower is sooner);
* *flights*: requests under way, each a run of neighbouring leaves of one object from one source;
* a `Score` per source.

Rules, in the order in which `next` applies them:
1. The most urgent want goes to the ready source that would finish it first. A source that the user did not name, and
   behind it one that is demoted, is asked only when every other one is down or has not got the leaf; one that sent this
   very leaf wrong is never asked for it again.
2. A source much slower than one that is merely busy takes the *least* urgent want instead.
3. With nothing queued, an idle source helps: it steals the second half of a slow run, or repeats a stalled one
   (hedging; at most `hedge_share` of all bytes unless the other one is silent). A leaf of which all requests are
   silent is asked of one more source, and when silent requests take every slot, the longest silent one is ended.

A want ends as done, or as failed: at once when every source answered that it has not got it or sent it wrong,
otherwise after `progress_deadline_s` without progress. All state moves under the caller's lock.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator

from ..errors import (
    ForbiddenAddressError,
    LeafMissingError,
    MissingError,
    OversizeError,
    PeerError,
    SlowError,
    TruncatedError,
    WithheldError,
    WrongBytesError,
)
from .lacks import Lacks
from .policy import FetchPolicy
from .scoreboard import Score
from .work import Cancel, Flight, Key, Start, SupersededError, Want

_BESIDE_BYTES = 1 << 20  # more than was asked for, before it is left out of a rate; a block's length is a guess
_SCAN = 64  # wants looked at before giving up on an assignment


class Planner:
    """See the module."""

    def __init__(self, scores: Iterable[Score], policy: FetchPolicy, *, seed: int = 0) -> None:
        self.policy = policy
        self.scores = {score.name: score for score in scores}
        self.wants: dict[Key, Want] = {}
        self.flights: dict[int, Flight] = {}
        self.failed: dict[Key, Want] = {}
        self.useful_bytes = 0
        self.hedged_bytes = 0
        self.stolen = 0
        self._leaves: dict[int, set[int]] = {}  # the wants of each object
        self._queue: list[tuple[float, Key]] = []
        self.lacks = Lacks()
        self._wrong: dict[Key, set[str]] = {}  # (source, leaf) bans outlive a want
        self._flight_ids = 0
        self._random = random.Random(seed)
        self._progress_at = 0.0

    # -- what is wanted

    def want(
        self, object_id: int, leaf: int, length: int, urgency: float, now: float, banned: Iterable[str] = ()
    ) -> None:
        """Add a want, or make a known one more urgent. A failed one is tried afresh.

        `banned`: sources that sent this leaf wrong under another object.
        """
        key = (object_id, leaf)
        self.failed.pop(key, None)
        known = self.wants.get(key)
        if known is None:
            liars = self._wrong.get(key, set()) | set(banned)
            known = Want(key, length, urgency, now, tried=dict.fromkeys(liars, "WRONG_BYTES (earlier)"), banned=liars)
            if self._hopeless(known, now):
                self.failed[key] = known
                return
            self.wants[key] = known
            self._leaves.setdefault(object_id, set()).add(leaf)
        elif urgency >= known.urgency:
            return
        known.urgency = urgency
        if known.flights == 0:
            heapq.heappush(self._queue, (urgency, key))

    def bans(self, object_id: int) -> dict[int, set[str]]:
        """For each leaf of an object that was sent wrong: by whom."""
        return {key[1]: set(names) for key, names in self._wrong.items() if key[0] == object_id}

    def forget(self, object_id: int) -> None:
        """Drop the wants and bans of an object; its flights run out as superseded."""
        for leaf in self._leaves.pop(object_id, ()):
            del self.wants[(object_id, leaf)]
        for table in (self.failed, self._wrong):
            for key in [key for key in table if key[0] == object_id]:
                del table[key]
        self.lacks.forget(object_id)

    # -- decisions

    def next(self, now: float) -> Start | None:
        """The next request to start, or None when none should start now."""
        ready = [score for score in self.scores.values() if score.ready(now)]
        if not ready:
            return None
        skipped: list[tuple[float, Key]] = []
        start: Start | None = None
        while start is None and self._queue and len(skipped) < _SCAN:
            item = heapq.heappop(self._queue)
            want = self.wants.get(item[1])
            if want is None or want.flights or item[0] != want.urgency:
                continue  # done, under way, or queued again with another urgency
            start = self._assign(want, ready, now)
            if not want.flights:  # nobody for it now, or somebody took the least urgent one instead
                skipped.append(item)
        for item in skipped:
            heapq.heappush(self._queue, item)
        return start or self._assist(ready, now)

    def startable(self, now: float) -> bool:
        """Whether something is wanted, and a source has room for it, now or by time alone."""
        return bool(self.wants) and any(score.ready_at(now) < float("inf") for score in self.scores.values())

    def wake_at(self, now: float) -> float:
        """When another source becomes ready by time alone; infinity if none does."""
        times = (score.ready_at(now) for score in self.scores.values() if not score.ready(now))
        return min(times, default=float("inf"))

    def _may_have(self, want: Want, score: Score, now: float) -> bool:
        return score.name not in want.banned and self.lacks.until(score.name, want.key) <= now

    def _assign(self, want: Want, ready: list[Score], now: float) -> Start | None:
        holders = [score for score in self.scores.values() if self._may_have(want, score, now)]
        # those that nobody named come behind all others that may have it and are not down; then the last resort: only
        # demoted sources may have it, or the others are all down
        able = [score for score in holders if not score.demoted and (not score.failures or score in ready)]
        holders = [score for score in able if score.trusted] or able or holders
        candidates = [score for score in ready if score in holders]
        if not candidates:
            return None
        best = min(candidates, key=lambda score: score.expected_s(want.length))
        rivals = [score for score in holders if not score.failures and score not in ready and now >= score.allowed_at]
        soonest = min((score.expected_s(want.length) for score in rivals), default=float("inf"))
        if best.expected_s(want.length) > 3 * soonest:
            last = self._least_urgent(best, now)
            if last is None or last is want:
                return None
            want = last
        return self._launch(best, want, now)

    def _least_urgent(self, score: Score, now: float) -> Want | None:
        queued = [want for want in self.wants.values() if not want.flights and self._may_have(want, score, now)]
        return max(queued, key=lambda want: (want.urgency, want.key), default=None)

    def _launch(self, score: Score, want: Want, now: float) -> Start:
        """A run from `want` on, over neighbours that are queued too."""
        object_id, first = want.key
        limit, length, last = score.run_bytes(self.policy), want.length, first + 1
        while True:
            neighbour = self.wants.get((object_id, last))
            if neighbour is None or neighbour.flights or length + neighbour.length > limit:
                break
            if not self._may_have(neighbour, score, now):
                break
            length += neighbour.length
            last += 1
        return self._fly(score, object_id, first, last, now)

    def _fly(self, score: Score, object_id: int, first: int, last: int, now: float) -> Start:
        wants = [want for leaf in range(first, last) if (want := self.wants.get((object_id, leaf)))]
        for want in wants:
            want.flights += 1
            if score.name not in want.tried:
                want.progress_at = now  # its time in the queue was not its own
        run_bytes = sum(want.length for want in wants)
        self._flight_ids += 1
        self.flights[self._flight_ids] = Flight(
            self._flight_ids,
            score.name,
            object_id,
            first,
            last,
            first,
            run_bytes,
            now,
            mark_at=now,
            moved_at=now,
        )
        score.start(run_bytes, now)
        return Start(self._flight_ids, score.name, object_id, first, last)

    def _assist(self, ready: list[Score], now: float) -> Start | None:
        """Steal from, or repeat, the flight that an idle source would finish soonest before its own source."""
        moving, asked = self._coverage(now)
        best: tuple[float, Flight, Score, list[Want]] | None = None
        ready = sorted(ready, key=lambda score: (score.failures, score.expected_s(score.run_bytes(self.policy))))
        for flight in self.flights.values():
            silent = self._silent(flight, now)
            left = [
                want for want in self._left(flight)
                if (want.key not in moving if silent else want.flights == 1 and not flight.helped)
            ]  # fmt: skip
            if not left:
                continue
            left_bytes = sum(want.length for want in left)
            owner = self.scores[flight.source]
            pace = flight.received / max(now - flight.started_at, 1e-3) or owner.rate
            remaining_s = float("inf") if silent else left_bytes / pace
            for score in ready:
                if not all(score.name not in asked[want.key] and self._may_have(want, score, now) for want in left):
                    continue
                if score.demoted or ((score.failures or not score.trusted) and not silent):
                    continue
                gain = remaining_s - 2 * score.expected_s(left_bytes // 2 if len(left) > 1 else left_bytes)
                if gain > 0.05 and (best is None or gain > best[0]):
                    best = (gain, flight, score, left)
        if best is None:
            return None
        _, flight, score, left = best
        return self._help(flight, score, left, now)

    def _help(self, flight: Flight, score: Score, left: list[Want], now: float) -> Start | None:
        silent = self._silent(flight, now)
        if len(left) > 1 and not silent:
            middle = left[len(left) // 2].key[1]
            for want in left:
                if want.key[1] >= middle:
                    want.flights -= 1
            last, flight.last = flight.last, middle
            self.stolen += 1
            flight.helped = len(left) < 4
            return self._fly(score, flight.object, middle, last, now)
        extra = sum(want.length for want in left)
        budget = self.policy.hedge_share * self.useful_bytes + self.policy.hedge_slack_bytes
        if not silent and self.hedged_bytes + extra > budget:
            return None
        self.hedged_bytes += extra
        flight.helped = True
        return self._fly(score, flight.object, left[0].key[1], left[-1].key[1] + 1, now)

    def _silent(self, flight: Flight, now: float) -> bool:
        return now - flight.moved_at > max(self.policy.stall_s, 4 * self.scores[flight.source].latency_s)

    def _coverage(self, now: float) -> tuple[set[Key], dict[Key, set[str]]]:
        """Wants that some flight makes progress towards, and the sources that are being asked for each."""
        moving: set[Key] = set()
        asked: dict[Key, set[str]] = {}
        for flight in self.flights.values():
            silent = self._silent(flight, now)
            for want in self._left(flight):
                asked.setdefault(want.key, set()).add(flight.source)
                if not silent:
                    moving.add(want.key)
        return moving, asked

    def _left(self, flight: Flight) -> Iterator[Want]:
        for leaf in range(flight.next, flight.last):
            want = self.wants.get((flight.object, leaf))
            if want is not None:
                yield want

    # -- what happened

    def progressed(self, flight_id: int, received: int, now: float) -> None:
        """So many body bytes of the request have come by now."""
        flight = self.flights[flight_id]
        if received > flight.received:
            flight.received, flight.moved_at = received, now
            left = list(self._left(flight))
            # the first half of a leaf, again and again from one source, is no progress
            if left and left[0].key[1] == flight.next:
                if received - flight.base <= left[0].reached.get(flight.source, 0):
                    return
                left[0].reached[flight.source] = received - flight.base
            for want in left:  # if another source brought the leaf that comes now, those behind it come all the same
                want.progress_at = now

    def arrived(self, flight_id: int, leaf: int, now: float, length: int | None = None) -> bool:
        """A leaf came and was right. Whether the request should go on. `length`: if it was only guessed before."""
        flight = self.flights[flight_id]
        flight.next, flight.moved_at, flight.base = leaf + 1, now, flight.received
        want = self._take((flight.object, leaf))
        if want is not None:
            self.useful_bytes += want.length if length is None else length
            self._progress_at = now
        return next(self._left(flight), None) is not None

    def ended(self, flight_id: int, error: PeerError | None, now: float, first_byte_s: float | None = None) -> None:
        """The request is over. Leaves that did not come are queued again, or fail."""
        flight = self.flights.pop(flight_id)
        score = self.scores[flight.source]
        score.end(flight.run_bytes)
        left = list(self._left(flight))
        for want in left:
            want.flights -= 1
        if isinstance(error, SupersededError):
            pass
        elif error is None:
            elapsed_s = max(now - flight.started_at, 1e-4)
            # what a source sends beside what was asked for (it ignores Range, say) does not make it a quick one
            useful = flight.received if flight.received < flight.run_bytes + _BESIDE_BYTES else flight.run_bytes
            score.succeeded(useful, min(first_byte_s or elapsed_s, elapsed_s), elapsed_s, self.policy)
        else:
            if flight.next > flight.first:
                score.failures = 0  # it gave something: the pause starts small again
            score.failed(error, now, self.policy, self._random.random())
            self._blame(flight, error, left, now)
        for want in left:
            if want.flights == 0:
                if self._hopeless(want, now):
                    self._fail(want)
                else:
                    heapq.heappush(self._queue, (want.urgency, want.key))

    def _blame(self, flight: Flight, error: PeerError, left: list[Want], now: float) -> None:
        for want in left:
            want.tried_at = want.tried_at or now
            want.tried[flight.source] = f"{error.verdict} ({error.message})"
        if isinstance(error, (WrongBytesError, OversizeError)):
            key = (flight.object, flight.next)
            self._wrong.setdefault(key, set()).add(flight.source)
            if key in self.wants:
                self.wants[key].banned.add(flight.source)
        elif isinstance(error, LeafMissingError):
            lacking = range(flight.next, min(flight.next + error.count, flight.last))
            self.lacks.leaves(flight.source, flight.object, lacking, now + self.policy.missing_s)
        elif isinstance(error, (MissingError, WithheldError, ForbiddenAddressError)):
            words = f"{error.verdict} ({error.message})"
            self.lacks.file(flight.source, flight.object, now + self.policy.missing_s, words)
        elif isinstance(error, TruncatedError) and left and flight.next == flight.first:
            # not one leaf of it: perhaps this file is short there; others first
            self.lacks.file(flight.source, flight.object, now + self.policy.backoff_s)

    def _hopeless(self, want: Want, now: float) -> bool:
        return bool(want.tried) and all(
            score.name in want.banned or self.lacks.until(score.name, want.key) > now + self.policy.backoff_s
            for score in self.scores.values()
        )

    def _fail(self, want: Want) -> None:
        self._take(want.key)
        self.failed[want.key] = want

    def _take(self, key: Key) -> Want | None:
        want = self.wants.pop(key, None)
        if want is not None:
            leaves = self._leaves[key[0]]
            leaves.discard(key[1])
            if not leaves:
                del self._leaves[key[0]]
        return want

    def tick(self, now: float) -> list[Cancel]:
        """What time alone decides: requests that are too slow or of no use any more, wants that are overdue."""
        cancels = [cancel for flight in self.flights.values() if (cancel := self._judge(flight, now))]
        deadline = self.policy.progress_deadline_s
        for want in list(self.wants.values()):
            alive = want.progress_at
            if not want.flights and any(
                score.name not in want.tried and self._may_have(want, score, now) for score in self.scores.values()
            ):
                alive = max(alive, self._progress_at)  # it waits its turn: others make progress
            hard = want.tried_at and now - want.tried_at > deadline * self.policy.hard_deadline_factor
            if now - alive > deadline or hard:
                self._fail(want)
        return cancels + self._make_room(now)

    def _make_room(self, now: float) -> list[Cancel]:
        """With every request slot taken, silent ones hold up sources that would answer: the longest silent one goes."""
        if len(self.flights) < self.policy.threads or not any(score.ready(now) for score in self.scores.values()):
            return []
        silent = [flight for flight in self.flights.values() if now - flight.moved_at > 2 * self.policy.stall_s]
        longest = min(silent, key=lambda flight: flight.moved_at, default=None)
        return [Cancel(longest.id, SlowError("silent, while others waited"))] if longest else []

    def _judge(self, flight: Flight, now: float) -> Cancel | None:
        limits = self.policy.transfer
        if next(self._left(flight), None) is None:
            return Cancel(flight.id, SupersededError("another source was faster"))
        if now - flight.started_at > limits.max_request_s:
            return Cancel(flight.id, SlowError(f"not done after {limits.max_request_s:.0f} s"))
        if flight.received == 0:
            if now - flight.started_at > limits.first_byte_s:
                return Cancel(flight.id, SlowError(f"no byte in {limits.first_byte_s:.0f} s"))
            flight.mark_at = now  # the rate counts from the first byte on
            return None
        window_s = now - flight.mark_at
        if window_s >= limits.grace_s:
            rate = (flight.received - flight.mark_received) / window_s
            if rate < limits.min_rate_bytes_s:
                return Cancel(flight.id, SlowError(f"{rate:.0f} bytes/s, less than {limits.min_rate_bytes_s:.0f}"))
            flight.mark_at, flight.mark_received = now, flight.received
        return None
