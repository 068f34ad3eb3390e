"""`Probed`: a URL of which nobody said what it is; found out by asking, at the first use.

It is asked for the root of the dataset as a gateway and as a mirror at once: one round trip, and the root is there.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ..cid import CID
from ..errors import MissingError, PeerError, SlowError, UnreachableError, WrongBytesError
from ..limits import MAX_BLOCK_BYTES
from .gateway import Gateway
from .http import Endpoint, HttpClient
from .mirror import BLOCKS_FOLDER, Mirror
from .source import FileRef, OnLeaf, Place, Source
from .transfer import Transfer

_PROBE_CID = "bafkqaaa"  # the identity CID of nothing: every trustless gateway answers 200 and an empty body
_POLL_S = 0.05
_GRACE_S = 0.5  # for the answer as a gateway, once that as a mirror is right
_LATER = (429, 503)  # to be asked later, and no third time now


class Probed:
    """A `Source` that becomes a `Gateway` or a `Mirror`."""

    trusted = True

    def __init__(self, name: str, endpoint: Endpoint, *, max_rate: int | None = None) -> None:
        self.name, self.url, self.max_rate = name, endpoint.url, max_rate
        self._endpoint = endpoint
        self._found: Source | None = None
        self._root: tuple[CID, bytes] | None = None  # came with the answer; given out once
        self._lock = threading.Lock()

    def _source(self, root: CID, transfer: Transfer) -> Source:
        while not self._lock.acquire(timeout=_POLL_S):  # another thread asks
            transfer.check()
        try:
            if self._found is None:
                self._found = self._ask(root, transfer)
            return self._found
        finally:
            self._lock.release()

    def _ask(self, root: CID, transfer: Transfer) -> Source:
        http = HttpClient(self._endpoint)
        paths = (f"/ipfs/{root}?format=raw", f"/{BLOCKS_FOLDER}/{root.v1()}")
        try:
            as_gateway, as_mirror = _both([_reading(http, path) for path in paths], root.matches, transfer)
            for kind, answer in ((Gateway, as_gateway), (Mirror, as_mirror)):
                if isinstance(answer, bytes) and root.matches(answer):
                    self._root = root, answer
                    return kind(self.name, self._endpoint, max_rate=self.max_rate)
            return self._without_root(http, transfer, root, as_gateway, as_mirror)
        finally:
            http.close()

    def _without_root(
        self,
        http: HttpClient,
        transfer: Transfer,
        root: CID,
        as_gateway: bytes | PeerError,
        as_mirror: bytes | PeerError,
    ) -> Source:
        """Neither gave the root: a gateway may lack it, or lie about it; anything else is of no use."""
        overloaded = [e for e in (as_gateway, as_mirror) if isinstance(e, UnreachableError) and e.status in _LATER]
        if overloaded:
            raise max(overloaded, key=lambda error: error.retry_after_s)
        if self._is_gateway(http, transfer):
            return Gateway(self.name, self._endpoint, max_rate=self.max_rate)
        if isinstance(as_mirror, bytes):
            error = WrongBytesError(f"{BLOCKS_FOLDER}/{root.short()} has other bytes")
            error.data = as_mirror
            raise error
        if isinstance(as_mirror, MissingError):
            raise MissingError("neither a gateway nor a mirror of this dataset") from as_mirror
        raise as_mirror

    def _is_gateway(self, http: HttpClient, transfer: Transfer) -> bool:
        try:
            with http.get(f"/ipfs/{_PROBE_CID}?format=raw", transfer) as answer:
                return answer.read(1) == b""
        except UnreachableError as error:
            # A failing server (5xx, or no HTTP at all) may be either: ask again later. 400 is a static host's no.
            if 400 <= error.status < 500 and error.status != 429:
                return False
            raise
        except PeerError:
            return False

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        source = self._source(root, transfer)
        with self._lock:
            given, self._root = self._root, None
        if given is not None and given[0] == cid:
            transfer.received += len(given[1])
            return given[1]
        return source.fetch_block(cid, root, transfer, place)

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`."""
        self._source(file.root, transfer).fetch_leaves(file, first, last, transfer, on_leaf)

    def close(self) -> None:
        """See `Source.close`."""
        found = self._found  # without the lock: a thread that still asks must not hold this one up
        if found is not None:
            found.close()


def _reading(http: HttpClient, path: str) -> Callable[[Transfer], bytes]:
    def read(transfer: Transfer) -> bytes:
        with http.get(path, transfer) as answer:
            return answer.read(MAX_BLOCK_BYTES)

    return read


def _both(
    questions: list[Callable[[Transfer], bytes]], right: Callable[[bytes], bool], transfer: Transfer
) -> list[bytes | PeerError]:
    """Ask all at once; the answer or the failure of each. Cancelling `transfer` ends them all.

    Once one is `right`, those behind it are dropped, and those before it have `_GRACE_S` left: a path that hangs does
    not take a good source away.
    """
    parts = [Transfer() for _ in questions]
    dropped = SlowError("not waited for: another path gave the root")
    pool = ThreadPoolExecutor(len(questions), thread_name_prefix="holdfast-probe")
    futures: list[Future[bytes]] = [pool.submit(ask, part) for ask, part in zip(questions, parts, strict=True)]
    pool.shutdown(wait=False)  # who is dropped is woken, and ends by itself: in the resolver of names, later
    grace_end = math.inf
    try:
        while True:
            first = next((at for at, future in enumerate(futures) if _is_right(future, right)), len(futures))
            left = [future for future in futures[:first] if not future.done()]
            if first < len(futures):
                grace_end = min(grace_end, time.monotonic() + _GRACE_S)
            if not left or time.monotonic() >= grace_end:
                return [_answer(future) if future.done() else dropped for future in futures]
            wait(left, _POLL_S, FIRST_COMPLETED)
            transfer.check()
    finally:
        for part in parts:
            part.cancel(dropped)


def _is_right(future: Future[bytes], right: Callable[[bytes], bool]) -> bool:
    answer = _answer(future) if future.done() else None
    return isinstance(answer, bytes) and right(answer)


def _answer(future: Future[bytes]) -> bytes | PeerError:
    try:
        return future.result()
    except PeerError as error:
        return error
