"""Choose the packer of a kind, and count what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from ...storage.errors import ConfigError
from ...storage.manifest import Writer
from ...storage.shards.tar import RESERVED
from ..detect import Detected
from ..options import PublishOptions
from ..progress import Progress
from ..shards import ShardSource
from ..skipped import Skipped
from .csv import CsvRows
from .jsonl import JsonlRows
from .parquet import pack_rows
from .rows import RowSource
from .tar import WRITER_VERSION, pack_tars
from .text import TextRows

NewFile = Callable[[str], Path]


def pack(
    source: Path,
    detected: Detected,
    options: PublishOptions,
    new_file: NewFile,
    skipped: Skipped,
    progress: Progress,
) -> tuple[Writer, Iterator[ShardSource]]:
    """Who writes the shards, and the shards one after the other, each complete when it is yielded."""
    files = detected.files
    total = sum(file.size for file in files)
    if detected.kind == "loose":
        progress.stage("pack", total)
        tars = pack_tars(source, files, options.shard_size, options.workers, new_file, progress.add)
        return Writer(library="holdfast", version=WRITER_VERSION), _numbered(tars, ".tar")
    progress.stage("scan", total)
    rows: RowSource
    match detected.kind:
        case "jsonl":
            rows = JsonlRows(source, files)
        case "csv":
            rows = CsvRows(source, files)
        case _:
            rows = TextRows(source, files)
    rows.survey(skipped, progress.add)
    if RESERVED.intersection(rows.schema.names):
        name = min(RESERVED.intersection(rows.schema.names))
        raise ConfigError(f"{source}: the column {name!r} is one of holdfast's own keys", hint="rename the column")
    progress.stage("pack", rows.size.raw_bytes)
    shards = pack_rows(rows, options.shard_size, new_file, progress.add)
    return Writer(library="pyarrow", version=pa.__version__), _numbered(shards, ".parquet")


def _numbered(paths: Iterable[Path], suffix: str) -> Iterator[ShardSource]:
    for number, path in enumerate(paths):
        yield ShardSource(path, f"{number:05d}{suffix}", owned=True)
