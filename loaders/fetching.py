"""`Fetching`: who fetches for a `Runtime`: an engine of this process, or the fetcher of the cache folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..storage.fetch.engine import FetchEngine
from ..storage.fetch.node_tree import BlockFetcher
from ..storage.fetch.scoreboard import SourceStats
from ..storage.sources.source import FileRef
from .spare import CachedFile
from .supply import OwnSupply, Supply


@dataclass(frozen=True, slots=True)
class Report:
    """`sources`: one each, in the order given; bytes that were wanted, came and were right; bytes asked for twice."""

    sources: tuple[SourceStats, ...]
    useful_bytes: int
    hedged_bytes: int


class Fetching(Protocol):
    """See the module."""

    @property
    def blocks(self) -> BlockFetcher:
        """Fetches single blocks."""

    @property
    def lineage(self) -> int:
        """The run whose marks are believed (`VerifiedFile`)."""

    def supply(self, ref: FileRef, file: CachedFile, own: int | None) -> Supply:
        """Who fills this file. `own`: the lineage of a run that believes no others."""

    def report(self) -> Report:
        """What was fetched so far."""

    def close(self) -> None:
        """Stop. Idempotent."""


class OwnFetching:
    """An engine of this process, which `close` ends."""

    def __init__(self, engine: FetchEngine, lineage: int) -> None:
        self.blocks, self.lineage = engine, lineage

    def supply(self, ref: FileRef, file: CachedFile, own: int | None) -> OwnSupply:
        """See `Fetching`."""
        return OwnSupply(ref, file, self.blocks)

    def report(self) -> Report:
        """See `Fetching`."""
        engine = self.blocks
        return Report(tuple(engine.stats()), engine.useful_bytes, engine.planner.hedged_bytes)

    def close(self) -> None:
        """See `Fetching`."""
        self.blocks.close()
