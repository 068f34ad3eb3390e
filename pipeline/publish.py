"""`publish`: a folder becomes a dataset version with a root, held by a repository that can serve it.

scan → detect → pack (if need be) → hash and describe every shard → manifest → root → name and pin. The folder is
only read. The root depends on its content, the options and, for parquet that we packed, the version of pyarrow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..configs.settings import repo_folder
from ..storage.blocks.block import Block
from ..storage.blocks.disk import DiskStore
from ..storage.blocks.journal import Journal
from ..storage.blocks.lease import lease
from ..storage.dag.build import Entry, build_tree
from ..storage.errors import ConfigError
from ..storage.limits import DEFAULT_LEAF_BYTES
from ..storage.manifest import IndexFile, Shard, Writer
from ..storage.order_hints import BLOCK_BYTES
from .assemble import crowded, documents, make_head
from .detect import AS_IT_LIES, SHARD_FORMAT, Detected, detect
from .facts import MAX_COLUMNS
from .keeper import Keeper
from .name import point_name
from .options import DEFAULT_SHARD_BYTES, Dtype, Format, PublishOptions
from .pack.packed import packed_before
from .pack.packer import pack
from .pack.survey import SurveyLog
from .progress import Progress
from .result import OnProgress, PublishResult
from .scan import scan
from .shards import ReadShard, ShardSource, as_they_lie, read_shards
from .skipped import Skipped

_MAX_WARNINGS = 100
INDEXED = frozenset({"tar", "tar.zst", "jsonl.zst", "arrow"})  # formats whose shards have an index file
UNITED = frozenset({"tar", "tar.zst", "jsonl.zst"})  # formats whose samples differ in columns one by one


def publish(
    src: str | os.PathLike[str],
    *,
    name: str,
    repo: str | os.PathLike[str] | None = None,
    format: Format = "auto",  # noqa: A002 - the option's name on the command line
    leaf_size: int = DEFAULT_LEAF_BYTES,
    shard_size: int = DEFAULT_SHARD_BYTES,
    workers: int | None = None,
    dtype: Dtype | None = None,
    title: str = "",
    description: str = "",
    licence: str = "",
    shuffle_block: int = BLOCK_BYTES,
    lanes: int | None = None,
    on_progress: OnProgress | None = None,
) -> PublishResult:
    """Publish the folder `src` under `name` in the repository `repo` (default: the user's own).

    `workers` changes the speed only. `shard_size` bounds the bytes of a packed shard: of a tar, or of the rows of a
    parquet file before compression. `shuffle_block`: bytes among which samples are shuffled one by one; a larger
    one mixes better, and a reader needs more at hand. `lanes`: as many as ranks are to download their share only, each
    on a machine of its own, or a multiple (docs/order.md, §5); None: what suits a reader of all of them.

    Shards that all lie in subfolders are partitioned by the first folder's name; more than 256 of these are one
    partition, "default", and a warning. Of a tar, only regular files are samples: links, devices and sparse members
    are named in the result, directories are not.

    Raises `ConfigError` for a source or an option that cannot be published, `FileChangedError` when a file changes
    meanwhile, `StoreError` or `DiskFullError` when the repository cannot take it; the name then points where it
    did. Not raised for single files that cannot be samples: these are named in the result.
    """
    started = time.monotonic()
    options = PublishOptions(
        name, format, leaf_size, shard_size, workers, dtype, title, description, licence, shuffle_block, lanes
    ).checked()  # fmt: skip
    source = Path(src)
    folder = Path(repo) if repo is not None else repo_folder(os.environ)
    _check_apart(source, folder)
    progress, skipped = Progress(on_progress), Skipped()
    progress.stage("scan", 0)
    detected = detect(scan(source, skipped), options.format)
    for path, reason in detected.left_out:
        skipped.add(path, reason)
    with (
        DiskStore(folder).open() as store,
        lease(folder, "publish"),
        Keeper(store, options.leaf_size) as keeper,
    ):
        log = SurveyLog(Journal(store.catalog), source, detected.kind, options.shard_size)
        draft = _Draft(source, detected, options, keeper, skipped, progress, log)
        draft.collect()
        root, nodes = draft.finish()
        keeper.flush()
        for node in nodes:
            store.put(node.cid, node.data)
        store.nodes.sync()
        unchanged = point_name(store.catalog, options.name, root.cid, time.time_ns())
        log.drop()
    return PublishResult(
        root.cid, options.name, draft.samples, len(draft.shards), sum(shard.bytes for shard in draft.shards),
        draft.new_bytes, time.monotonic() - started, skipped.named(), skipped.count, tuple(draft.warnings), unchanged,
    )  # fmt: skip


class _Draft:
    """A dataset that is being put together."""

    def __init__(
        self,
        source: Path,
        detected: Detected,
        options: PublishOptions,
        keeper: Keeper,
        skipped: Skipped,
        progress: Progress,
        log: SurveyLog,
    ) -> None:
        self.source, self.detected, self.options = source, detected, options
        self.keeper, self.skipped, self.progress, self.log = keeper, skipped, progress, log
        self.format = SHARD_FORMAT[detected.kind]
        self.entries: dict[str, Entry] = {}
        self.shards: list[Shard] = []
        self.columns: dict[str, str] = {}
        self.warnings: list[str] = []
        self.samples = self.new_bytes = 0
        self.run = 1
        self.writer: Writer | None = None

    def collect(self) -> None:
        """Read every shard."""
        sources = self._sources()
        reading = read_shards(sources, self.format, self.options, self.keeper, self._hashed)
        try:
            for read in reading:
                self._add(read)
        finally:
            reading.close()  # type: ignore[attr-defined]  # a generator: its threads end before the keeper cleans up
        if not self.shards:
            raise ConfigError(
                f"none of {len(self.detected.files)} files in {self.source} holds a sample",
                hint="check that this is the folder of your data",
            )

    def _sources(self) -> Iterator[ShardSource]:
        files, options = self.detected.files, self.options
        if self.detected.kind in AS_IT_LIES:
            self.progress.stage("hash", sum(file.size for file in files))
            return as_they_lie(
                self.source, files, lambda path: self.keeper.known(path, options.leaf_size), self._warn,
                indexed=self.format in INDEXED,
            )  # fmt: skip
        self.writer, shards = pack(
            self.source, self.detected, options, self.keeper.new_file, self.skipped, self.progress,
            lambda key: packed_before(self.keeper, key), self.log,
        )  # fmt: skip
        return shards

    def _hashed(self, count: int) -> None:
        if self.detected.kind in AS_IT_LIES:
            self.progress.add(count)

    def _add(self, read: ReadShard) -> None:
        source, facts, kept = read.source, read.facts, read.kept
        for name, reason in facts.left_out:
            self.skipped.add(name, reason)
        self.skipped.count += facts.left_out_count - len(facts.left_out)
        if not facts.samples:
            self.skipped.add(source.name, "holds no rows")
            return
        if not self.shards or self.detected.kind not in AS_IT_LIES:  # a packed shard may be shorter than a row group
            self.run = max(self.run, facts.run)
        if self.format in UNITED:
            self.columns |= dict(islice(facts.columns.items(), MAX_COLUMNS - len(self.columns)))
        elif not self.columns:
            self.columns = facts.columns
        elif self.columns != facts.columns:
            self._warn(f"{source.name} has other columns than {self.shards[0].path}")
        for warning in facts.warnings:
            self._warn(warning)
        index = None
        if facts.index is not None:
            path = f"index/{source.name}.idx"
            made = self.keeper.keep_bytes(facts.index, ".idx")
            self.entries[path] = made.entry
            index = IndexFile(path=path, cid=str(made.cid), bytes=made.size)
        path = f"data/{source.name}"
        self.entries[path] = kept.entry
        self.new_bytes += kept.size if kept.new else 0
        self.shards.append(
            Shard(
                path=path, cid=str(kept.cid), bytes=kept.size, samples=facts.samples, first_sample=self.samples,
                partition=source.partition, index=index,
            )
        )  # fmt: skip
        self.samples += facts.samples

    def finish(self) -> tuple[Entry, list[Block]]:
        """Write the small files; returns the root and the blocks of its directories."""
        self.progress.stage("finish", 0)
        columns = dict(sorted(self.columns.items())) if self.format in UNITED else self.columns
        head = make_head(self.format, self.shards, columns, self.run, self.options, self.writer)
        if said := crowded(head):
            self._warn(said)
        for path, data in documents(head, self.shards).items():
            self.entries[path] = self.keeper.keep_bytes(data, Path(path).suffix).entry
        return build_tree(self.entries)

    def _warn(self, text: str) -> None:
        if len(self.warnings) < _MAX_WARNINGS:
            self.warnings.append(text)


def _check_apart(source: Path, repo: Path) -> None:
    here, there = source.resolve(), repo.resolve()
    if there.is_relative_to(here) or here.is_relative_to(there):
        raise ConfigError(
            f"the repository {repo} and the source {source} lie in one another",
            hint="name a folder outside of it with --repo",
        )
