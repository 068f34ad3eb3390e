"""`Pinner`: works off the pin requests, two at a time, and takes them up again after a restart."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ..blocks.disk import DiskStore
from ..errors import HoldfastError
from ..fetch.policy import FetchPolicy
from ..multiaddr import url_of
from ..pins.pin import Status
from ..sources.http import Endpoint
from ..sources.local import Local
from ..sources.netguard import NetGuard
from ..sources.probe import Probed
from ..sources.source import Source
from .budget import Budget
from .pin_job import CancelledError, PinJob
from .pin_records import PinRecord, PinRecords
from .refusals import LOG
from .room import Room

_THREADS = 2


class Pinner:
    """Sources of a pin are its origins, whose addresses `guard` judges, and `trusted` ones (the peer's roster)."""

    def __init__(
        self,
        store: DiskStore,
        records: PinRecords,
        *,
        guard: NetGuard,
        trusted: Callable[[], Sequence[Source]] = lambda: (),
        max_bytes: int | None = None,
        policy: FetchPolicy | None = None,
    ) -> None:
        self._store, self._records, self._guard, self._trusted = store, records, guard, trusted
        self._policy = policy or FetchPolicy()
        self._room = Room(store, Budget(store, max_bytes))
        self._queue: deque[PinRecord] = deque()
        self._running: dict[str, PinJob] = {}
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._changed = threading.Condition()

    def start(self) -> None:
        """Queue what is unfinished, and start working. Raises `StoreError`."""
        self._room.clean()
        self._queue.extend(self._records.unfinished())
        for number in range(_THREADS):
            thread = threading.Thread(target=self._work, name=f"holdfast-pin-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, timeout_s: float) -> None:
        """Cancel everything under way; it is taken up again at the next start."""
        with self._changed:
            self._stopping = True
            jobs = list(self._running.values())
            self._changed.notify_all()
        cancels = [threading.Thread(target=job.cancel, daemon=True) for job in jobs]
        limit = time.monotonic() + timeout_s
        for thread in cancels:
            thread.start()
        for thread in self._threads + cancels:
            thread.join(max(limit - time.monotonic(), 0))

    def submit(self, record: PinRecord) -> None:
        """Queue a request that is durable."""
        with self._changed:
            self._queue.append(record)
            self._changed.notify()

    def cancel(self, requestid: str) -> None:
        """Drop a request, whether queued or under way. Does not wait."""
        with self._changed:
            self._queue = deque(record for record in self._queue if record.requestid != requestid)
            job = self._running.get(requestid)
        if job is not None:
            threading.Thread(target=job.cancel, name="holdfast-unpin", daemon=True).start()

    def progress(self, requestid: str) -> Mapping[str, str]:
        """The `info` of a request that is under way now."""
        with self._changed:
            job = self._running.get(requestid)
        return job.info() if job is not None else {}

    def _work(self) -> None:
        while True:
            with self._changed:
                record = self._take()
                while record is None:
                    if self._stopping:
                        return
                    self._changed.wait()
                    record = self._take()
                job = self._running[record.requestid] = PinJob(record.cid, self._store, self._room, self._policy)
            try:
                self._pin(record, job)
            except Exception:  # noqa: BLE001 - a worker that dies in silence would leave pins queued
                if not self._stopping:  # else the store may be closed by now
                    LOG.exception("the pin %s of %s could not be recorded", record.requestid, record.cid)
            finally:
                with self._changed:
                    del self._running[record.requestid]
                    self._changed.notify_all()

    def _take(self) -> PinRecord | None:
        """The first request whose root is not being fetched already."""
        if self._stopping:
            return None
        busy = {job.root for job in self._running.values()}
        for record in self._queue:
            if record.cid not in busy:
                self._queue.remove(record)
                return record
        return None

    def _pin(self, record: PinRecord, job: PinJob) -> None:
        try:
            self._records.write_failed()  # there may be room again
            self._records.update(record.requestid, Status.PINNING, {})
            info = job.run(lambda: self._sources(record))
            self._records.update(record.requestid, Status.PINNED, info)
        except CancelledError:
            LOG.info("the pin of %s was ended before it was complete", record.cid)
        except HoldfastError as error:
            self._failed(record, job, error.message + (f" ({error.hint})" if error.hint else ""))
        except Exception:
            if self._stopping:  # the store may be closed by now
                raise
            LOG.exception("a bug of holdfast ended the pin of %s", record.cid)
            self._failed(record, job, "an error of this peer; its log says more")
        else:
            LOG.info("pinned %s (%s bytes)", record.cid, info["bytes"])

    def _failed(self, record: PinRecord, job: PinJob, why: str) -> None:
        durable = self._records.fail(record.requestid, {**job.info(), "error": why})
        LOG.warning("the pin of %s failed: %s%s", record.cid, why, "" if durable else "; this is noted in memory only")

    def _sources(self, record: PinRecord) -> list[Source]:
        sources = list(self._trusted())
        names = {source.name for source in sources}
        for url in dict.fromkeys(url for origin in record.origins if (url := url_of(origin))):
            if url not in names:
                sources.append(Probed(url, Endpoint(url, guard=self._guard, redirect_guard=self._guard)))
        # Without any, the repository alone may do: what is published here can be pinned here.
        return sources or [Local(self._store, name="this peer, with neither a roster nor a usable origin")]
