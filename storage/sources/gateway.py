"""`Gateway`: a trustless gateway (IPFS specification "Trustless Gateway"), ours, Kubo's or a public one.

Blocks come by `?format=raw`. A run of leaves comes as one Range of the plain file where the gateway serves files
(ours and Kubo do), and block by block where it is trustless only.
"""

from __future__ import annotations

from ..cid import CID
from ..errors import MissingError, PeerError, UnreachableError, WithheldError
from ..limits import MAX_BLOCK_BYTES
from .http import Endpoint, HttpClient
from .ranges import LeafBuffers, range_header, read_leaves
from .source import FileRef, OnLeaf, Place
from .transfer import Transfer

_RAW = {"Accept": "application/vnd.ipld.raw"}


class Gateway:
    """A `Source` over a trustless gateway."""

    trusted = True

    def __init__(self, name: str, endpoint: Endpoint, *, max_rate: int | None = None) -> None:
        self.name, self.url, self.max_rate = name, endpoint.url, max_rate
        self._http = HttpClient(endpoint)
        self._buffers = LeafBuffers()
        self._serves_files = True  # until a plain file is refused whose blocks are there

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        with self._http.get(f"/ipfs/{cid}?format=raw", transfer, _RAW) as answer:
            return answer.read(MAX_BLOCK_BYTES)

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`."""
        if not self._serves_files or file.layout.leaves == 1:
            self._fetch_raw(file, first, last, transfer, on_leaf)
            return
        received = transfer.received
        try:
            headers = range_header(file.layout, first, last)
            with self._http.get(f"/ipfs/{file.layout.cid}", transfer, headers) as answer:
                read_leaves(answer, file.layout, first, last, self._buffers, on_leaf)
        except PeerError as error:
            refused = isinstance(error, (MissingError, WithheldError))
            refused = refused or (isinstance(error, UnreachableError) and error.status == 406)
            if not refused or transfer.received != received:
                raise
            self._fetch_raw(file, first, last, transfer, on_leaf)
            self._serves_files = False

    def _fetch_raw(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        for leaf in range(first, last):
            data = self.fetch_block(file.layout.leaf_cid(leaf), file.root, transfer)
            if not on_leaf(leaf, memoryview(data)):
                return

    def close(self) -> None:
        """See `Source.close`."""
        self._http.close()
