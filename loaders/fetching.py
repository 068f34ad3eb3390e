"""`Fetching`: who fetches for a `Runtime`: an engine of this process, or the fetcher of the cache folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
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


def together(ours: Report, theirs: Report) -> Report:
    """What an engine of this process and a fetcher did, source by source; the state is what the fetcher says."""
    found = {source.name: source for source in ours.sources}
    for source in theirs.sources:
        if (own := found.get(source.name)) is not None:
            verdicts = dict(Counter(own.verdicts) + Counter(source.verdicts))
            source = replace(
                source, requests=own.requests + source.requests, bytes=own.bytes + source.bytes,
                wrong=own.wrong + source.wrong, verdicts=verdicts,
            )  # fmt: skip
        found[source.name] = source
    return Report(
        tuple(found.values()), ours.useful_bytes + theirs.useful_bytes, ours.hedged_bytes + theirs.hedged_bytes
    )


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
