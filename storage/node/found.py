"""`Found`: what a path leads to in this store, with the blocks that prove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..cid import CID
from ..dag import walk
from ..dag.directories import Kind


@dataclass(frozen=True, slots=True)
class Found:
    """`roots`: the root, and the CID that each segment leads to. `trail`: the blocks on the way to the target's own.

    `inner`: the path ends inside the dag-cbor block `cid`, at a value with these links; None if at the block.
    """

    cid: CID
    kind: Kind
    roots: tuple[CID, ...]
    trail: tuple[CID, ...]
    inner: tuple[CID, ...] | None = None


def find(root: CID, segments: Sequence[str], get: Callable[[CID], bytes]) -> Found:
    """Follow a path. Raises `PathNotFoundError`, and what `get` raises."""
    here = walk.run(walk.resolve(root, segments), get)
    trail = tuple(cid for cid in here.trail if cid != here.cid)
    return Found(here.cid, here.kind, here.roots, trail, here.inner)
