"""`Probed`: a URL of which nobody said what it is; found out by asking, at the first use."""

from __future__ import annotations

import threading

from ..cid import CID
from ..errors import MissingError, PeerError, UnreachableError, WrongBytesError
from ..limits import MAX_BLOCK_BYTES
from .gateway import Gateway
from .http import Endpoint, HttpClient
from .mirror import BLOCKS_FOLDER, Mirror
from .source import FileRef, OnLeaf, Place, Source
from .transfer import Transfer

_PROBE_CID = "bafkqaaa"  # the identity CID of nothing: every trustless gateway answers 200 and an empty body


class Probed:
    """A `Source` that becomes a `Gateway` or a `Mirror`."""

    def __init__(self, name: str, endpoint: Endpoint, *, max_rate: int | None = None) -> None:
        self.name, self.url, self.max_rate = name, endpoint.url, max_rate
        self._endpoint = endpoint
        self._found: Source | None = None
        self._lock = threading.Lock()

    def _source(self, root: CID, transfer: Transfer) -> Source:
        while not self._lock.acquire(timeout=0.05):  # another thread asks
            transfer.check()
        try:
            if self._found is None:
                self._found = self._ask(root, transfer)
            return self._found
        finally:
            self._lock.release()

    def _ask(self, root: CID, transfer: Transfer) -> Source:
        http = HttpClient(self._endpoint)
        try:
            if self._is_gateway(http, transfer):
                return Gateway(self.name, self._endpoint, max_rate=self.max_rate)
            with http.get(f"/{BLOCKS_FOLDER}/{root.v1()}", transfer) as answer:
                data = answer.read(MAX_BLOCK_BYTES)
            if not root.matches(data):
                error = WrongBytesError(f"{BLOCKS_FOLDER}/{root.short()} has other bytes")
                error.data = data
                raise error
            return Mirror(self.name, self._endpoint, max_rate=self.max_rate)
        except MissingError as error:
            raise MissingError("neither a gateway nor a mirror of this dataset") from error
        finally:
            http.close()

    def _is_gateway(self, http: HttpClient, transfer: Transfer) -> bool:
        try:
            with http.get(f"/ipfs/{_PROBE_CID}?format=raw", transfer) as answer:
                return answer.read(1) == b""
        except UnreachableError as error:
            # A failing server (5xx, or no HTTP at all) may be either: ask again later. 400 is a static host's no.
            if 400 <= error.status < 500:
                return False
            raise
        except PeerError:
            return False

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        return self._source(root, transfer).fetch_block(cid, root, transfer, place)

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`."""
        self._source(file.root, transfer).fetch_leaves(file, first, last, transfer, on_leaf)

    def close(self) -> None:
        """See `Source.close`."""
        found = self._found  # without the lock: a thread that still asks must not hold this one up
        if found is not None:
            found.close()
