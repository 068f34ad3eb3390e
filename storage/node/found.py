"""`Found`: what a path leads to in this store, with the blocks that prove it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..cid import CID
from ..dag import walk
from ..dag.directories import Kind


@dataclass(frozen=True, slots=True)
class Found:
    """`roots`: the CID of every segment, the root first. `trail`: the blocks on the way, without the target's own."""

    cid: CID
    kind: Kind
    roots: tuple[CID, ...]
    trail: tuple[CID, ...]


def find(root: CID, segments: Sequence[str], get: Callable[[CID], bytes]) -> Found:
    """Follow a path segment by segment. Raises `PathNotFoundError`, and what `get` raises."""
    here = walk.run(walk.resolve(root, ()), get)
    roots, trail = [root], list(here.trail)
    for segment in segments:
        here = walk.run(walk.resolve(here.cid, (segment,)), get)
        roots.append(here.cid)
        trail += here.trail
    return Found(here.cid, here.kind, tuple(roots), tuple(cid for cid in dict.fromkeys(trail) if cid != here.cid))
