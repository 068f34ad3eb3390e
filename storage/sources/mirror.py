"""`Mirror`: a plain copy of a dataset on any static host (nginx, a bucket, a hub).

Leaves are ranges of the files under the names they have; nodes lie beside them as `.holdfast/blocks/<cid>`
(design: "A plain copy is a complete provider"). Nothing there is trusted: everything is hashed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote

from ..cid import CID
from ..limits import MAX_BLOCK_BYTES
from .http import Endpoint, HttpClient
from .ranges import LeafBuffers, range_header, read_leaves, read_place
from .source import FileRef, OnLeaf, Place
from .transfer import Transfer

BLOCKS_FOLDER = ".holdfast/blocks"
_NO_MAP: Mapping[str, str] = MappingProxyType({})


class Mirror:
    """A `Source` over plain files. `prefix` is put before every path; `path_map` renames single files."""

    trusted = True

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        *,
        prefix: str = "",
        path_map: Mapping[str, str] = _NO_MAP,
        max_rate: int | None = None,
    ) -> None:
        self.name, self.url, self.max_rate = name, endpoint.url, max_rate
        self._http = HttpClient(endpoint)
        self._buffers = LeafBuffers()
        self._prefix, self._path_map = prefix, path_map

    def _target(self, path: str) -> str:
        return "/" + quote(self._prefix + self._path_map.get(path, path))

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        if place is not None:
            header = {"Range": f"bytes={place.start}-{place.start + place.size - 1}"}
            with self._http.get(self._target(place.path), transfer, header) as answer:
                return read_place(answer, place)
        with self._http.get(self._target(f"{BLOCKS_FOLDER}/{cid.v1()}"), transfer) as answer:
            return answer.read(MAX_BLOCK_BYTES)

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`."""
        headers = range_header(file.layout, first, last)
        with self._http.get(self._target(file.path), transfer, headers) as answer:
            read_leaves(answer, file.layout, first, last, self._buffers, on_leaf)

    def close(self) -> None:
        """See `Source.close`."""
        self._http.close()
