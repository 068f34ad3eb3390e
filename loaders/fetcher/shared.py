"""`SharedFetching`: by the fetcher for as long as one works for us, and then by an engine of this process."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...storage.blocks.block import Block
from ...storage.cid import CID
from ...storage.sources.source import FileRef, Place
from ..fetching import Fetching, Report
from ..spare import CachedFile
from ..supply import Supply
from .client import FetcherClient
from .wire import NoFetcherError

LOG = logging.getLogger("holdfast.fetcher")


@dataclass(slots=True)
class _Asked:
    """A block, and its handle at whoever fetches it."""

    cid: CID
    root: CID
    urgency: float
    by: Fetching
    handle: int


class SharedFetching:
    """A `Fetching`. `make` gives the engine that takes over when a fetcher died, and none follows that takes us.

    What is open then is asked for again there; what was fetched is in the cache. Safe from any thread.
    """

    def __init__(self, client: FetcherClient, make: Callable[[], Fetching]) -> None:
        self._client, self._make = client, make
        self._now: Fetching = client
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._lock = threading.Lock()  # of `_now` and `_closed`: nobody waits for anything under it
        self._closed = False
        self._making = threading.Lock()

    @property
    def now(self) -> Fetching:
        """Who fetches."""
        return self._now

    def fall_back(self, why: NoFetcherError) -> Fetching:
        """The engine of this process. Says so once."""
        with self._making:  # who comes meanwhile waits for the same engine
            with self._lock:
                self._check()
                if self._now is not self._client:
                    return self._now
            made = self._make()
            try:
                with self._lock:
                    self._check()
                    self._now = made
            except RuntimeError:
                made.close()
                raise
        LOG.warning("the fetcher is gone (%s): this process fetches for itself from now on", why)
        self._client.close()
        return made

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("nothing is fetched any more: the dataset is closed")

    @property
    def blocks(self) -> SharedFetching:
        """See `Fetching`."""
        return self

    @property
    def lineage(self) -> int:
        """See `Fetching`."""
        return self._now.lineage

    def supply(self, ref: FileRef, file: CachedFile, own: int | None) -> Supply:
        """See `Fetching`."""
        return _SharedSupply(self, ref, file, own)

    def want_block(self, cid: CID, root: CID, place: Place | None = None, urgency: float = -1.0) -> int:
        """See `FetchEngine.want_block`."""
        by = self._now
        try:
            asked = _Asked(cid, root, urgency, by, by.blocks.want_block(cid, root, place, urgency))
        except NoFetcherError as error:
            by = self.fall_back(error)
            asked = _Asked(cid, root, urgency, by, by.blocks.want_block(cid, root, place, urgency))
        number = next(self._numbers)
        self._asked[number] = asked
        return number

    def take_block(self, handle: int) -> Block:
        """See `FetchEngine.take_block`."""
        asked = self._asked.pop(handle)
        try:
            return asked.by.blocks.take_block(asked.handle)
        except NoFetcherError as error:
            own = self.fall_back(error).blocks
            return own.take_block(own.want_block(asked.cid, asked.root, None, asked.urgency))

    def close_file(self, handle: int) -> None:
        """See `FetchEngine.close_file`."""
        asked = self._asked.pop(handle, None)
        if asked is not None:
            asked.by.blocks.close_file(asked.handle)

    def report(self) -> Report:
        """See `Fetching`."""
        try:
            return self._now.report()
        except NoFetcherError as error:
            return self.fall_back(error).report()

    def close(self) -> None:
        """See `Fetching`."""
        with self._lock:
            self._closed = True
        self._client.close()
        self._now.close()


class _SharedSupply:
    """A `Supply`: by whoever fetches now."""

    def __init__(self, fetching: SharedFetching, ref: FileRef, file: CachedFile, own: int | None) -> None:
        self._fetching, self._ref, self._file, self._own = fetching, ref, file, own
        self._lock = threading.Lock()
        self._by = fetching.now
        try:
            self._supply = self._by.supply(ref, file, own)
        except NoFetcherError as error:
            self._by = fetching.fall_back(error)
            self._supply = self._by.supply(ref, file, own)

    def _next(self, why: NoFetcherError) -> Supply:
        by = self._fetching.fall_back(why)
        with self._lock:
            if self._by is not by:
                self._by, self._supply = by, by.supply(self._ref, self._file, self._own)
            return self._supply

    def ask(self, missing: Sequence[int], urgency: float) -> list[int]:
        """See `Supply`."""
        try:
            return self._supply.ask(missing, urgency)
        except NoFetcherError as error:
            return self._next(error).ask(missing, urgency)

    def bring(self, missing: Sequence[int]) -> None:
        """See `Supply`."""
        try:
            self._supply.bring(missing)
        except NoFetcherError as error:
            self._next(error).bring(missing)

    def close(self) -> None:
        """See `Supply`."""
        self._supply.close()
