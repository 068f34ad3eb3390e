"""Choose the packer of a kind, and count what it writes."""

from __future__ import annotations

import hashlib
import json
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
from .packed import Lookup, Packed, shard_key
from .parquet import pack_rows
from .rows import RowSource
from .span import Span
from .survey import SurveyLog, survey
from .tar import WRITER_VERSION, pack_tars
from .text import TextRows

NewFile = Callable[[str], Path]
ROWS_VERSION = "rows-2"  # changes whenever the same rows would give other bytes


def pack(
    source: Path,
    detected: Detected,
    options: PublishOptions,
    new_file: NewFile,
    skipped: Skipped,
    progress: Progress,
    lookup: Lookup = lambda _: None,
    log: SurveyLog | None = None,
) -> tuple[Writer, Iterator[ShardSource]]:
    """Who writes the shards, and the shards one after the other, each complete when it is yielded.

    `lookup`: what is packed already, by its key. `log`: for how far a survey has come.
    """
    files = detected.files
    total = sum(file.size for file in files)
    if detected.kind == "loose":
        progress.stage("pack", total)
        tars = pack_tars(source, files, options.shard_size, options.workers, new_file, progress.add, lookup)
        return Writer(library="holdfast", version=WRITER_VERSION), _numbered(tars, ".tar")
    progress.stage("scan", total)
    rows: RowSource
    match detected.kind:
        case "jsonl":
            rows = JsonlRows(source, files, options.shard_size)
        case "csv":
            rows = CsvRows(source, files, options.shard_size)
        case _:
            rows = TextRows(source, files, options.shard_size)
    survey(rows, files, skipped, progress.add, log or SurveyLog(None, source, detected.kind, options.shard_size))
    if RESERVED.intersection(rows.schema.names):
        name = min(RESERVED.intersection(rows.schema.names))
        raise ConfigError(f"{source}: the column {name!r} is one of holdfast's own keys", hint="rename the column")
    progress.stage("pack", rows.size.raw_bytes)
    shape = json.dumps([
        "parquet", ROWS_VERSION, pa.__version__, detected.kind, rows.size.rows_per_group(),
        rows.schema.serialize().to_pybytes().hex(), rows.shape(),
    ])  # fmt: skip
    shape = hashlib.sha256(shape.encode()).hexdigest()  # once, and not for each shard

    def keyed(span: Span) -> Span:
        start, end = span.start, span.end
        through = end.file + (1 if end.used else 0)
        key = shard_key(source, files[start.file : through], shape, start.used, end.used)
        return span._replace(key=key)

    shards = pack_rows(rows, map(keyed, rows.size.spans(len(files))), new_file, progress.add, lookup)
    return Writer(library="pyarrow", version=pa.__version__), _numbered(shards, ".parquet")


def _numbered(shards: Iterable[Packed], suffix: str) -> Iterator[ShardSource]:
    for number, packed in enumerate(shards):
        yield ShardSource(
            packed.path, f"{number:05d}{suffix}", owned=True, known=packed.known, note=packed.key, facts=packed.facts
        )
