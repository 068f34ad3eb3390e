"""`FetchEngine`: verified leaves and blocks from several sources at once. The IO around `Planner`.

Threads: `policy.threads` workers, each of which asks the planner for a request, performs it and hashes what comes;
one ticker that measures progress, enforces deadlines and rates, and ends requests by cancelling their `Transfer`.
One lock guards the planner; nothing slow happens under it. Waiters wait on one condition.

An engine belongs to the process that started it: threads and sockets do not survive a fork.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..blocks.block import Block
from ..cid import CID
from ..errors import (
    HashMismatchError,
    HoldfastError,
    IntegrityError,
    PeerError,
    StoreError,
    UnavailableError,
    UnreachableError,
    WrongBytesError,
)
from ..sources.source import FileRef, Place, Source
from ..sources.transfer import Transfer
from .account import account
from .evidence import Evidence
from .planner import Planner
from .policy import FetchPolicy
from .scoreboard import Score, SourceStats
from .work import Start, SupersededError

LOG = logging.getLogger("holdfast.fetch")
_TICK_S = 0.05
_CLOSE_S = 5.0  # for all threads together; what nothing can wake (a look-up of a name) ends later by itself
_NODE_BYTES = 1 << 16  # a guess for planning: nodes are at most some 60 KB per 1,024 links


class LeafSink(Protocol):
    """Where leaves go: hashes, then keeps. `VerifiedFile` is one."""

    def write(self, leaf: int, data: memoryview) -> None:
        """Raises `HashMismatchError` before anything is kept, `StoreError` when our disk fails."""


@dataclass(slots=True)
class _FileJob:
    file: FileRef
    sink: LeafSink
    writing: int = 0  # threads inside `sink.write` now
    closing: bool = False


@dataclass(slots=True)
class _BlockJob:
    cid: CID
    root: CID
    place: Place | None
    data: bytes | None = None


class FetchEngine:
    """See the module. Use as a context manager, or `start` and `close`."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        policy: FetchPolicy | None = None,
        evidence: Evidence | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not sources:
            raise ValueError("an engine needs at least one source")
        self.policy = policy or FetchPolicy()
        self.sources = {source.name: source for source in sources}
        if len(self.sources) != len(sources):
            raise ValueError("two sources have one name")
        scores = [Score(source.name, source.max_rate, trusted=source.trusted) for source in sources]
        self.planner = Planner(scores, self.policy, seed=os.getpid())
        self._evidence, self._clock = evidence, clock
        lock = threading.RLock()
        self._changed = threading.Condition(lock)  # for waiters: a want was met, or failed
        self._work = threading.Condition(lock)  # for workers: there may be something to start
        self._stop = threading.Event()
        # so many hash and write at a time: more only wait for locks of the kernel (2 GB on two cores: 2.3 to 5.1 s of
        # system time with eight at a time, 1.6 with two), while they may all wait for their sources
        self._cores = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._waiters = 0
        self._jobs: dict[int, _FileJob | _BlockJob] = {}
        self._banned: dict[bytes, set[str]] = {}  # digest → who sent it wrong: a ban outlives the file's handle
        self._ids = itertools.count(1)
        self._transfers: dict[int, Transfer] = {}
        self._threads: list[threading.Thread] = []
        self._broken: StoreError | None = None
        self._logged: set[tuple[str, str]] = set()  # (source, type): one traceback of each
        self._closing = False

    def start(self) -> FetchEngine:
        """Start the threads. Idempotent."""
        if not self._threads:
            self._closing = False
            self._stop.clear()
            names = ["tick"] + [f"fetch-{n}" for n in range(self.policy.threads)]
            for name in names:
                target = self._tick_loop if name == "tick" else self._work_loop
                thread = threading.Thread(target=target, name=f"holdfast-{name}", daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def close(self) -> None:
        """Cancel everything in flight and end the threads. Waiters get a `RuntimeError`. Idempotent."""
        with self._changed:
            self._closing = True
            for transfer in self._transfers.values():
                transfer.cancel(SupersededError("the engine is closing"))
            self._stop.set()
            self._changed.notify_all()
            self._work.notify_all()
        limit = time.monotonic() + _CLOSE_S
        for thread in self._threads:
            thread.join(max(limit - time.monotonic(), 0))
        self._threads.clear()
        for source in self.sources.values():
            source.close()

    def __enter__(self) -> FetchEngine:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what callers ask

    def open_file(self, file: FileRef, sink: LeafSink) -> int:
        """Announce a file; its leaves are asked for by `want`. Returns its handle."""
        with self._changed:
            handle = next(self._ids)
            self._jobs[handle] = _FileJob(file, sink)
            return handle

    def close_file(self, handle: int) -> None:
        """Forget a file: leaves still wanted are dropped. Afterwards nothing is written to its sink any more."""
        with self._changed:
            job = self._jobs.pop(handle, None)
            if job is not None:
                for leaf, names in self.planner.bans(handle).items():
                    self._banned.setdefault(_digest(job, leaf), set()).update(names)
            self.planner.forget(handle)
            if isinstance(job, _FileJob):
                job.closing = True
                while job.writing:  # the caller closes the file next: not under a thread that writes
                    self._changed.wait()

    def want(self, handle: int, leaves: Iterable[int], urgency: float) -> None:
        """Ask for leaves of an announced file, without waiting. Lower urgency comes first."""
        with self._changed:
            job = self._jobs[handle]
            assert isinstance(job, _FileJob)
            now = self._clock()
            for leaf in leaves:
                banned = self._banned.get(_digest(job, leaf), ())
                self.planner.want(handle, leaf, job.file.layout.leaf_length(leaf), urgency, now, banned)
            self._call(now)

    def wait(self, handle: int, leaves: Sequence[int], *, timeout_s: float | None = None) -> bool:
        """Wait until none of these leaves is wanted any more. False when `timeout_s` passed first.

        Raises `UnavailableError` or `IntegrityError` when one could not be had, `StoreError` when our disk failed.
        """
        keys = [(handle, leaf) for leaf in leaves]
        limit = None if timeout_s is None else self._clock() + timeout_s
        with self._changed:
            while True:
                self._check()
                for key in keys:
                    if key in self.planner.failed:
                        raise self._explain(key)
                if not any(key in self.planner.wants for key in keys):
                    return True
                left = None if limit is None else limit - self._clock()
                if left is not None and left <= 0:
                    return False
                self._waiters += 1
                try:
                    self._changed.wait(left)
                finally:
                    self._waiters -= 1

    def block(self, cid: CID, root: CID) -> Block:
        """One block, verified. Raises as `wait` does."""
        return self.take_block(self.want_block(cid, root))

    def want_block(self, cid: CID, root: CID, place: Place | None = None, urgency: float = -1.0) -> int:
        """Ask for one block, without waiting. Give the handle to `take_block`, or to `close_file`."""
        with self._changed:
            handle = next(self._ids)
            job = self._jobs[handle] = _BlockJob(cid, root, place)
            banned, now = self._banned.get(_digest(job, 0), ()), self._clock()
            self.planner.want(handle, 0, place.size if place else _NODE_BYTES, urgency, now, banned)
            self._call(now)
            return handle

    def take_block(self, handle: int) -> Block:
        """The block that `want_block` asked for, verified. Raises as `wait` does."""
        job = self._jobs[handle]
        try:
            self.wait(handle, [0])
            assert isinstance(job, _BlockJob)
            assert job.data is not None
            return Block.verify(job.cid, job.data)
        finally:
            self.close_file(handle)

    def stats(self) -> list[SourceStats]:
        """A snapshot per source, in the order given."""
        with self._changed:
            coming = Counter[str]()
            for flight, transfer in self._transfers.items():
                coming[self.planner.flights[flight].source] += transfer.received
            scores = self.planner.scores
            return [scores[name].snapshot(source.url, coming[name]) for name, source in self.sources.items()]

    @property
    def useful_bytes(self) -> int:
        """Bytes of leaves and blocks that were wanted, came and were right."""
        with self._changed:
            return self.planner.useful_bytes

    # -- threads

    def _check(self) -> None:
        if self._closing:
            raise RuntimeError("the engine is closed")
        if self._broken is not None:
            raise self._broken

    def _call(self, now: float) -> None:
        """Wake a worker if there may be something to start, now or soon; it calls the next one."""
        if self.planner.startable(now):
            self._work.notify()

    def _work_loop(self) -> None:
        while True:
            with self._changed:
                start = None
                while start is None:
                    if self._closing:
                        return
                    now = self._clock()
                    start = self.planner.next(now)
                    if start is None:
                        pause = self.planner.wake_at(now) - now
                        self._work.wait(min(max(pause, 0.01), 1.0) if self.planner.wants else None)
                self._call(now)
                job, transfer = self._jobs.get(start.object), Transfer()
                self._transfers[start.flight] = transfer
            self._perform(start, job, transfer)

    def _perform(self, start: Start, job: _FileJob | _BlockJob | None, transfer: Transfer) -> None:
        source, begun, error = self.sources[start.source], time.monotonic(), None
        try:
            if isinstance(job, _FileJob):
                self._fetch_leaves(source, start, job, transfer)
            elif job is not None:
                self._fetch_block(source, start, job, transfer)
        except PeerError as failure:
            error = failure
            if isinstance(failure, WrongBytesError) and failure.data and job is not None:
                self._keep(source, job.root if isinstance(job, _BlockJob) else job.file.root, failure.data)
        except StoreError as failure:
            with self._changed:
                self._broken = failure
        except Exception as failure:  # noqa: BLE001 - no source may end the run of the others, not by our bugs either
            error = self._unexpected(source, failure)
        with self._changed:
            del self._transfers[start.flight]
            self.planner.scores[start.source].bytes += transfer.received
            now = self._clock()
            self.planner.progressed(start.flight, transfer.received, now)
            first = None if transfer.first_byte_at is None else transfer.first_byte_at - begun
            self.planner.ended(start.flight, error, now, first)  # this thread asks for the next one itself
            self._changed.notify_all()

    def _unexpected(self, source: Source, failure: Exception) -> UnreachableError:
        """A failure that no source should have, as one of this source."""
        kind = type(failure).__name__
        if isinstance(failure, HoldfastError):
            return UnreachableError(f"{kind}: {failure.message}")
        with self._changed:
            first = (source.name, kind) not in self._logged
            self._logged.add((source.name, kind))
        if first:
            LOG.error("%s failed in a way that is a bug of holdfast: %s", source.name, kind, exc_info=failure)
        return UnreachableError(f"{kind}, which is a bug of holdfast")

    def _fetch_leaves(self, source: Source, start: Start, job: _FileJob, transfer: Transfer) -> None:
        def on_leaf(leaf: int, data: memoryview) -> bool:
            with self._changed:
                if job.closing:
                    return False
                job.writing += 1
            try:
                with self._cores:
                    job.sink.write(leaf, data)
            except HashMismatchError as error:
                self._keep(source, job.file.layout.leaf_cid(leaf), data)
                raise WrongBytesError(f"leaf {leaf} of {job.file.path or job.file.layout.cid.short()}") from error
            except HoldfastError:
                raise
            except Exception as error:  # not the source's: no client may take it for one of its sockets
                raise _bug(error) from error
            finally:
                self._written(job)
            with self._changed:
                more = self.planner.arrived(start.flight, leaf, self._clock())
                if self._waiters:
                    self._changed.notify_all()
            return more

        source.fetch_leaves(job.file, start.first, start.last, transfer, on_leaf)

    def _written(self, job: _FileJob) -> None:
        with self._changed:
            job.writing -= 1
            if job.closing:
                self._changed.notify_all()

    def _fetch_block(self, source: Source, start: Start, job: _BlockJob, transfer: Transfer) -> None:
        data = source.fetch_block(job.cid, job.root, transfer, job.place)
        if not job.cid.matches(data):
            self._keep(source, job.cid, data)
            raise WrongBytesError(f"block {job.cid.short()}")
        with self._changed:
            job.data = data
            self.planner.arrived(start.flight, 0, self._clock(), len(data))

    def _keep(self, source: Source, cid: CID, data: bytes | memoryview) -> None:
        if self._evidence is not None:
            self._evidence.keep(source.name, source.url, cid, data)

    def _tick_loop(self) -> None:
        try:
            self._tick()
        except Exception as failure:
            with self._changed:  # without it no wait would ever end
                self._broken = _bug(failure)
                self._changed.notify_all()
            LOG.exception("the clock of the engine ended")

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_S):
            with self._changed:
                now = self._clock()
                for flight, moving in self._transfers.items():
                    self.planner.progressed(flight, moving.received, now)
                failed = len(self.planner.failed)
                cancels = [(self._transfers[cancel.flight], cancel.reason) for cancel in self.planner.tick(now)]
                if len(self.planner.failed) != failed:
                    self._changed.notify_all()
                if self.planner.wants:  # time alone may have made a steal or a hedge worth while
                    self._work.notify()
            for moving, reason in cancels:
                moving.cancel(reason)

    # -- words

    def _explain(self, key: tuple[int, int]) -> HoldfastError:
        want, job = self.planner.failed[key], self._jobs.get(key[0])
        if isinstance(job, _FileJob):
            what = (
                f"leaf {key[1]} ({job.file.layout.leaf_cid(key[1]).short()}) of {job.file.path or job.file.layout.cid}"
            )
        else:
            what = f"block {job.cid}" if job else "a block"
        message = f"{what} could not be had. {account(self.planner, want)}"
        if want.banned:
            return IntegrityError(message, hint="name another source that has the right bytes")
        return UnavailableError(
            message, hint="check that these sources are reachable and keep the dataset, or name others"
        )


def _bug(error: Exception) -> StoreError:
    return StoreError(f"{type(error).__name__}: {error}", hint="this is a bug of holdfast")


def _digest(job: _FileJob | _BlockJob, leaf: int) -> bytes:
    return job.file.layout.leaf_digest(leaf) if isinstance(job, _FileJob) else job.cid.digest
