"""`get`: a whole dataset into a folder that is a complete mirror afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .blocks.store import BlockStore
from .dag import walk
from .dataset import Dataset
from .errors import ConfigError
from .fetch.download import Progress, download
from .fetch.mirror_folder import MirrorFolder
from .fetch.scoreboard import SourceStats
from .fetch.tree import RemoteTree, TreeFile
from .session import Session, SourcesArgument, choose_sources, locate, user_policy
from .sources.netguard import NetGuard


@dataclass(frozen=True, slots=True)
class GetResult:
    """What a `get` did. `bytes` of files now in DEST, `refetched_bytes` received beyond what was needed.

    `links`: symlinks of the dataset, as "path → target", at most 1,000. None is made: it could lead anywhere.
    """

    bytes: int
    files: int
    seconds: float
    refetched_bytes: int
    sources: list[SourceStats]
    links: tuple[str, ...] = ()


def get(
    uri: str,
    dest: str | os.PathLike[str],
    *,
    sources: SourcesArgument = None,
    partition: str | None = None,
    deadline_s: float | None = None,
    store: BlockStore | None = None,
    redirects: NetGuard | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> GetResult:
    """Fetch `uri` (or a folder or file below it) into the folder `dest`, every byte hashed.

    `sources`: URLs, a roster or its path; None: the default roster. `deadline_s`: seconds without progress on a
    leaf before giving up. `partition`: only the shards of that one.

    Raises `ConfigError` (input, also a `dest` that holds a copy of something else), `UnavailableError`,
    `IntegrityError`, `FormatError`, `StoreError`. What was fetched until then stays and is used again.
    """
    where = locate(uri, sources)
    chosen = choose_sources(sources, store=store, redirects=redirects)
    policy = user_policy(deadline_s)
    folder = MirrorFolder(Path(dest), where.path).open_folder()
    started = time.monotonic()
    try:
        if not where.path:
            folder.claim(where.root)
        with Session(where, chosen, policy=policy) as session:
            tree = RemoteTree(session.engine, where.root, folder.nodes(session.tree.nodes))
            select = _selection(Dataset(tree), partition)
            if where.path:
                # with words for what is not there
                found = walk.run(walk.resolve(where.root, where.path.split("/")), tree.node)
                folder.claim(found.cid)
                tree = RemoteTree(session.engine, where.root, tree.nodes, tree.find(where.path))
            progress = download(tree, folder, select=select, on_progress=on_progress)
            stats = session.engine.stats()
            useful = session.engine.useful_bytes
    finally:
        folder.close()
    refetched = max(sum(source.bytes for source in stats) - useful, 0)
    seconds = time.monotonic() - started
    return GetResult(progress.bytes, progress.files, seconds, refetched, stats, tuple(progress.links))


def _selection(dataset: Dataset, partition: str | None) -> Callable[[TreeFile], bool]:
    if partition is None:
        return lambda _: True
    dataset.open()
    wanted = {shard.path for shard in dataset.shards(partition)}
    wanted |= {shard.index.path for shard in dataset.shards(partition) if shard.index}
    if not wanted:
        raise ConfigError(f"partition {partition!r} is empty")
    return lambda file: file.path in wanted or not file.path.startswith(("data/", "index/"))
