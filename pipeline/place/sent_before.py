"""`SentBefore`: what a push that was cut had sent, found out block by block while it is sent again."""

from __future__ import annotations

from collections.abc import Container

from ...storage.cid import CID, RAW
from ...storage.pins.target import CarTarget


class SentBefore:
    """A container of CIDs: those of `there`, with all below them, and the leaves that the target has.

    To ask for a leaf takes 0.5 ms, to send 1 MiB 1.6. Nodes are sent again: that one is there says nothing of what is
    below it. Looking raises what `CarTarget.holds` does.
    """

    def __init__(self, target: CarTarget, there: Container[CID]) -> None:
        self._target, self._there = target, there

    def __contains__(self, cid: object) -> bool:
        return cid in self._there or (isinstance(cid, CID) and cid.codec == RAW and self._target.holds(cid))
