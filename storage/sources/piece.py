"""`PieceSource`: a Filecoin storage provider that serves pieces by HTTP (`GET /piece/{PieceCID}`, FRC-0066) with Range.

A manifest says where each block lies in them; no index of the provider's, and none of the network's, is needed. A block
is hashed here like any other, so neither the provider nor the manifest is trusted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..cid import CID
from ..dag.car import section_head
from ..dag.layout import FileLayout
from ..errors import FormatError, LeafMissingError, MissingError, WithheldError
from ..pieces.block_table import BlockPlace
from ..pieces.manifest import PieceManifest
from ..pieces.piece_cid import PieceCID
from .answer import Answer
from .http import Endpoint, HttpClient
from .ranges import LeafBuffers, enter_range
from .source import FileRef, OnLeaf, Place
from .transfer import Transfer

_LOST_S = 60.0  # before a piece that it did not have is asked for again
_MAX_GAP_BYTES = 1 << 16  # between two leaves that one request reads: their sections' heads, and nodes


class PieceSource:
    """A `Source` over the pieces of one manifest at one provider."""

    trusted = True

    def __init__(self, name: str, endpoint: Endpoint, manifest: PieceManifest, *, max_rate: int | None = None) -> None:
        self.name, self.url, self.max_rate = name, endpoint.url, max_rate
        self._http = HttpClient(endpoint)
        self._buffers = LeafBuffers()
        self._manifest = manifest
        self._lost: dict[int, tuple[float, str]] = {}  # pieces that it does not have, or give: until when, and why

    def fetch_block(self, cid: CID, root: CID, transfer: Transfer, place: Place | None = None) -> bytes:
        """See `Source.fetch_block`."""
        while True:
            found, why = self._find(cid)
            if found is None:
                raise MissingError(why)
            head, piece = _head(cid, found), self._manifest.pieces[found.piece].cid
            with self._noting(found.piece):
                start = found.offset - len(head)
                data = self.fetch_range(piece, start, found.offset + found.length, transfer)
                if data[: len(head)] != head:  # this block alone: others of the piece may lie where they should
                    raise LeafMissingError(_elsewhere(cid, piece, found))
                return data[len(head) :]

    def fetch_leaves(self, file: FileRef, first: int, last: int, transfer: Transfer, on_leaf: OnLeaf) -> None:
        """See `Source.fetch_leaves`: a request for each stretch of leaves that lie together, in one piece.

        Raises `LeafMissingError` where leaves lie in no piece of the manifest, in none that the provider has, or where
        the head of their section says that another block lies there: then the manifest is wrong, or the provider.
        """
        at = first
        while at < last:
            places = self._together(file.layout, at, last)
            piece = self._manifest.pieces[places[0].piece].cid
            behind = places[0].offset - len(_head(file.layout.leaf_cid(at), places[0]))
            with (
                self._noting(places[0].piece),
                self._range(piece, behind, places[-1].offset + places[-1].length, transfer) as answer,
            ):
                for place in places:
                    cid = file.layout.leaf_cid(at)
                    head = _head(cid, place)
                    answer.skip(place.offset - len(head) - behind)
                    if answer.exactly(len(head)) != head:
                        raise LeafMissingError(_elsewhere(cid, piece, place))
                    behind = place.offset + place.length
                    view = self._buffers.view(place.length)
                    answer.readinto(view)
                    if not on_leaf(at, view):
                        return
                    at += 1

    def fetch_range(self, piece: PieceCID, start: int, end: int, transfer: Transfer) -> bytes:
        """Bytes start … end-1 of a piece, unverified; what an audit asks for. Raises as the others do."""
        with self._range(piece, start, end, transfer) as answer:
            return answer.exactly(end - start)

    @contextmanager
    def _noting(self, piece: int) -> Iterator[None]:
        """A piece that it lacks, or withholds, is left alone for a while: its blocks are looked for in others."""
        try:
            yield
        except LeafMissingError:
            raise
        except (MissingError, WithheldError) as error:
            self._lost[piece] = time.monotonic() + _LOST_S, f"{error.verdict} ({error.message})"

    def _together(self, layout: FileLayout, first: int, last: int) -> list[BlockPlace]:
        """Leaves from `first` on that one request reads: one at least."""
        places: list[BlockPlace] = []
        for leaf in range(first, last):
            place, why = self._leaf(layout, leaf)
            if place is None:
                if not places:
                    raise self._absent(layout, first, last, why)
                break
            if places:
                before = places[-1]
                gap = place.offset - before.offset - before.length
                head = _head(layout.leaf_cid(leaf), place)
                if place.piece != before.piece or not len(head) <= gap <= _MAX_GAP_BYTES:
                    break
            places.append(place)
        return places

    def _absent(self, layout: FileLayout, first: int, last: int, why: str) -> LeafMissingError:
        error = LeafMissingError(why)
        while first + error.count < last and self._leaf(layout, first + error.count)[0] is None:
            error.count += 1
        return error

    def _leaf(self, layout: FileLayout, leaf: int) -> tuple[BlockPlace | None, str]:
        return self._find(layout.leaf_cid(leaf), layout.leaf_length(leaf))

    def _find(self, cid: CID, length: int | None = None) -> tuple[BlockPlace | None, str]:
        """Where it lies, in a piece that the provider is not known to lack; or why it is nowhere."""
        why = f"{cid.short()} is in none of the {len(self._manifest.pieces)} pieces of the manifest"
        try:
            places = list(self._manifest.blocks.find(cid.digest))
        except (FormatError, OSError) as error:
            return None, f"the manifest cannot be read: {error}"
        for place in places:
            until, said = self._lost.get(place.piece, (0.0, ""))
            if until > time.monotonic():
                why = f"{cid.short()} is in {self._manifest.pieces[place.piece].cid}: {said}"
            elif place.offset < len(_head(cid, place)):
                why = f"the manifest says that {cid.short()} lies at byte {place.offset} of a CAR"
            elif length is not None and place.length != length:
                why = f"the manifest says that {cid.short()} has {place.length} bytes: it has {length}"
            else:
                return place, ""
        return None, why

    @contextmanager
    def _range(self, piece: PieceCID, start: int, end: int, transfer: Transfer) -> Iterator[Answer]:
        """An answer whose next byte is number `start` of a piece."""
        with self._http.get(f"/piece/{piece}", transfer, {"Range": f"bytes={start}-{end - 1}"}) as answer:
            enter_range(answer, start, end, piece.size)
            yield answer

    def close(self) -> None:
        """See `Source.close`."""
        self._http.close()


def _head(cid: CID, place: BlockPlace) -> bytes:
    return section_head(cid.v1(), place.length)


def _elsewhere(cid: CID, piece: PieceCID, place: BlockPlace) -> str:
    return f"another block than {cid.short()} lies at byte {place.offset} of {piece}"
