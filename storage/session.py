"""`Session`: sources, an engine and a tree for one URI: what every reading command opens and closes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..configs.roster import Roster
from ..configs.settings import Settings, cache_folder, default_roster
from .blocks.memory import MemoryStore
from .blocks.store import BlockStore
from .errors import ConfigError
from .fetch.engine import FetchEngine
from .fetch.evidence import Evidence
from .fetch.policy import FetchPolicy
from .fetch.tree import RemoteTree
from .sources.from_roster import sources_of
from .sources.local import Local
from .sources.netguard import NetGuard
from .sources.source import Source
from .uri import DatasetUri

_NODES_BYTES = 64 << 20  # of nodes at hand: in trees of others, small files are nodes too

SourcesArgument = Sequence[str] | Roster | str | os.PathLike[str] | None


def choose_sources(
    given: SourcesArgument, *, store: BlockStore | None = None, redirects: NetGuard | None = None
) -> list[Source]:
    """What the user gave, else `$HOLDFAST_ROSTER`, else the default roster; a local store comes first.

    Raises `ConfigError` when there is none of these.
    """
    sources: list[Source] = [Local(store)] if store is not None else []
    if given is None:
        roster = default_roster(os.environ)
        if roster is None:
            if sources:
                return sources
            raise ConfigError(
                "no source is named",
                hint="give --from URL or --roster FILE (in Python: sources=), or set HOLDFAST_ROSTER to a roster",
            )
        given = roster
    return sources + sources_of(given, env=os.environ, redirects=redirects)


def locate(uri: str, given: SourcesArgument = None, on_warning: Callable[[str], None] = lambda _: None) -> DatasetUri:
    """Read a URI; of a name, ask the same providers that the dataset is read from where it points now.

    Raises `ConfigError`; for a name also what `names.follow` raises. `on_warning` is told of each place that gave an
    old, wrong or no record, in one sentence.
    """
    found = DatasetUri.read(uri)
    if isinstance(found, DatasetUri):
        return found
    from .names.follow import follow  # signatures take 50 ms to import: only for names

    given = default_roster(os.environ) if given is None else given
    if given is None:
        raise ConfigError(f"nobody to ask where {uri} points", hint="give --from URL or --roster FILE")
    return follow(found, given, on_warning=on_warning)


def user_policy(deadline_s: float | None = None) -> FetchPolicy:
    """The fetch policy of the user's settings; `deadline_s` (seconds without progress on a leaf) goes before theirs."""
    settings = Settings.load(os.environ).fetch
    return FetchPolicy(
        threads=settings.threads,
        run_bytes=settings.run_bytes,
        progress_deadline_s=settings.deadline if deadline_s is None else deadline_s,
    )


class Session:
    """Use as a context manager."""

    def __init__(
        self,
        uri: DatasetUri,
        sources: Sequence[Source],
        *,
        policy: FetchPolicy | None = None,
        evidence: Path | None = None,
    ) -> None:
        self.uri = uri
        folder = evidence or cache_folder(os.environ) / "evidence"
        self.engine = FetchEngine(sources, policy=policy, evidence=Evidence(folder))
        self.tree = RemoteTree(self.engine, uri.root, MemoryStore(_NODES_BYTES))

    def __enter__(self) -> Session:
        self.engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()
