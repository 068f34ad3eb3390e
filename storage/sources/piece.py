"""`PieceSource`: a Filecoin storage provider that serves pieces by HTTP (`GET /piece/{PieceCID}`, FRC-0066) with Range.

A manifest says where each block lies in them; no index of the provider's, and none of the network's, is needed. A block
is hashed here like any other, so neither the provider nor the manifest is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..cid import CID
from ..dag.layout import FileLayout
from ..errors import MissingError
from ..pieces.block_table import BlockPlace
from ..pieces.manifest import PieceManifest
from ..pieces.piece_cid import PieceCID
from .answer import Answer
from .http import Endpoint, HttpClient
from .ranges import LeafBuffers, enter_range
from .source import FileRef, OnLeaf, Place
from .transfer import Transfer

_MAX_GAP_BYTES = 1 << 16  # between two leaves that one request reads: their sections' heads, and nodes


class PieceSource:
    """A `Source` over the pieces of one manifest at one provider."""

    trusted = True

    def __init__(self, name: str, endpoint: Endpoint, manifest: PieceManifest, *, max_rate: int | None = None) -> None:
        self.name, self.url, self.max_rate = name, endpoint.url, max_rate
        self._http = HttpClient(endpoint)
        self._buffers = LeafBuffers()
        self._manifest = manifest

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        found = self._find(cid)
        if not found.length:
            return b""
        piece = self._manifest.pieces[found.piece].cid
        return self.fetch_range(piece, found.offset, found.offset + found.length, transfer)

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`: a request for each stretch of leaves that lie together, in one piece."""
        at = first
        while at < last:
            places = self._together(file.layout, at, last)
            if not places[-1].length:  # the only leaf of an empty file
                on_leaf(at, self._buffers.view(0))
                return
            piece, behind = self._manifest.pieces[places[0].piece].cid, places[0].offset
            with self._range(piece, behind, places[-1].offset + places[-1].length, transfer) as answer:
                for place in places:
                    answer.skip(place.offset - behind)
                    behind = place.offset + place.length
                    view = self._buffers.view(place.length)
                    answer.readinto(view)
                    if not on_leaf(at, view):
                        return
                    at += 1

    def fetch_range(self, piece: PieceCID, start: int, end: int, transfer: Transfer) -> bytes:
        """Bytes start … end-1 of a piece, unverified; what an audit asks for. Raises as the others do."""
        data = bytearray(end - start)
        with self._range(piece, start, end, transfer) as answer:
            answer.readinto(memoryview(data))
        return bytes(data)

    def _together(self, layout: FileLayout, first: int, last: int) -> list[BlockPlace]:
        places = [self._leaf(layout, first)]
        for leaf in range(first + 1, last):
            before, place = places[-1], self._leaf(layout, leaf)
            if place.piece != before.piece or not 0 <= place.offset - before.offset - before.length <= _MAX_GAP_BYTES:
                break
            places.append(place)
        return places

    def _leaf(self, layout: FileLayout, leaf: int) -> BlockPlace:
        cid, expected = layout.leaf_cid(leaf), layout.leaf_length(leaf)
        place = self._find(cid)
        if place.length != expected:
            raise MissingError(f"the manifest says that {cid.short()} has {place.length} bytes: it has {expected}")
        return place

    def _find(self, cid: CID) -> BlockPlace:
        place = self._manifest.blocks.find(cid.digest)
        if place is None:
            raise MissingError(f"{cid.short()} is in none of the {len(self._manifest.pieces)} pieces of the manifest")
        return place

    @contextmanager
    def _range(self, piece: PieceCID, start: int, end: int, transfer: Transfer) -> Iterator[Answer]:
        """An answer whose next byte is number `start` of a piece."""
        with self._http.get(f"/piece/{piece}", transfer, {"Range": f"bytes={start}-{end - 1}"}) as answer:
            enter_range(answer, start, end, piece.size)
            yield answer

    def close(self) -> None:
        """See `Source.close`."""
        self._http.close()
