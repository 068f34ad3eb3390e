"""A DAG as the sections of a CAR, read from the store block by block: nothing is held but the block at hand."""

from __future__ import annotations

from collections.abc import Iterator

from ..blocks.store import BlockStore
from ..cid import CID, IDENTITY, RAW
from ..dag.car import encode_header, encode_section
from ..dag.entity_bytes import bytes_order
from ..dag.order import dag_order, links_order
from ..dag.steps import Steps
from ..errors import HoldfastError
from .found import Found
from .wanted import Wanted

BATCH_BYTES = 256 << 10  # up to one block more; what one client costs in memory


def car_parts(store: BlockStore, found: Found, wanted: Wanted) -> Iterator[bytes]:
    """Header and path first, then the DAG below, in the order and with the duplicates that `wanted` says.

    The target's own block comes in the first part, so that an absent target is known before anything is sent.
    """
    head = [encode_header((found.cid,))]
    path = found.trail
    if found.inner is not None and found.cid.hash_code != IDENTITY:
        path = (*path, found.cid)
    head += [encode_section(cid, store.get(cid).data) for cid in path]
    for cid, data in _blocks(store, _order(found, wanted)):
        yield b"".join([*head, encode_section(cid, data)])
        head.clear()
    if head:  # an identity CID, or a value inside a block of the path: nothing more
        yield b"".join(head)


def _order(found: Found, wanted: Wanted) -> Steps[None]:
    dups = wanted.car.dups
    if found.inner is not None:
        links = found.inner if wanted.scope == "all" else ()
        return links_order(found.cid, links, dups=dups)
    if wanted.entity is not None:
        return bytes_order(found.cid, wanted.entity, dups=dups)
    return dag_order(found.cid, wanted.scope, dups=dups)


def _blocks(store: BlockStore, steps: Steps[None]) -> Iterator[tuple[CID, bytes]]:
    try:
        cid = next(steps)
        while True:
            data = store.get(cid).data
            yield cid, data
            cid = steps.send(b"" if cid.codec == RAW else data)
    except StopIteration:
        return
    finally:
        steps.close()


class Batches:
    """Parts in batches, for a thread that fills one while the last is being sent."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._error: HoldfastError | None = None

    def next(self) -> bytes:
        """The next bytes; b"" at the end. An error is raised only after all that was read before it."""
        if self._error is not None:
            raise self._error
        batch, size = [], 0
        try:
            for part in self._parts:
                batch.append(part)
                size += len(part)
                if size >= BATCH_BYTES:
                    break
        except HoldfastError as error:
            if not batch:
                raise
            self._error = error
        return b"".join(batch)
