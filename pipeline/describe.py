"""Describe a shard: how many samples it holds, and where they start. Reads headers and footers, and payload only where
it is one compressed stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage.blocks.stamp import Stamp
from ..storage.errors import ConfigError, FormatError
from ..storage.limits import MIB
from ..storage.manifest import ShardFormat
from ..storage.shards.arrow import batch_table
from ..storage.shards.tar import RESERVED
from ..storage.shards.tokens import TOKEN_BYTES
from .facts import MAX_COLUMNS, Facts
from .streams import describe_jsonl_stream, describe_tar_stream
from .tars import describe_members

MAX_ROW_GROUP_BYTES = 256 * MIB
_MAX_TYPE_TEXT = 512
_NUMPY_MAGIC = b"\x93NUMPY"
_STREAM_MARK = b"\xff\xff\xff\xff"


def describe(path: Path, name: str, format_: ShardFormat, dtype: str | None) -> Facts:
    """The facts of one shard; `name` is what messages call it. Raises `ConfigError` for one that is broken."""
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stamp = Stamp.of(fd)
        match format_:
            case "tar":
                return describe_members(_reader(fd), stamp.size, stamp, name)
            case "tar.zst":
                return describe_tar_stream(fd, stamp, name)
            case "jsonl.zst":
                return describe_jsonl_stream(fd, stamp, name)
            case "parquet":
                return _describe_parquet(fd, stamp, name)
            case "arrow":
                return _describe_arrow(fd, stamp, name)
            case "tokens":
                return _describe_tokens(fd, stamp, name, str(dtype))
    except FormatError as error:
        raise ConfigError(f"{name} is not a whole {format_} file: {error.message}", hint="make it again") from error
    except (pa.ArrowException, ValueError) as error:  # ValueError: column names that are not UTF-8
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{name} is not a whole {format_} file: {text}", hint="make it again") from error
    except OSError as error:
        text = error.strerror or str(error).splitlines()[0]
        raise ConfigError(f"{name} cannot be read: {text}", hint="check the file") from error
    finally:
        if fd >= 0:
            os.close(fd)


def _reader(fd: int) -> Callable[[int, int], bytes]:
    def read(start: int, end: int) -> bytes:
        data = os.pread(fd, end - start, start)
        if len(data) != end - start:
            raise FormatError(f"it ends early, at byte {start + len(data)}")
        return data

    return read


def _describe_parquet(fd: int, stamp: Stamp, name: str) -> Facts:
    with os.fdopen(os.dup(fd), "rb") as file, pq.ParquetFile(file) as parquet:
        about, schema = parquet.metadata, parquet.schema_arrow
        groups = [about.row_group(at) for at in range(about.num_row_groups)]
        largest = max((group.total_byte_size for group in groups), default=0)
        _check_names(name, list(schema), RESERVED)
        columns = {field.name: str(field.type)[:_MAX_TYPE_TEXT] for field in list(schema)[:MAX_COLUMNS]}
        run = next((group.num_rows for group in groups if group.num_rows), 1)
        rows = about.num_rows
    warnings: tuple[str, ...] = ()
    if largest > MAX_ROW_GROUP_BYTES:
        warnings = (f"{name} has a row group of {largest >> 20} MiB: readers hold one in memory at a time",)
    return Facts(stamp, rows, columns, run=run, warnings=warnings)


def _describe_arrow(fd: int, stamp: Stamp, name: str) -> Facts:
    if os.pread(fd, 4, 0) == _STREAM_MARK:
        raise ConfigError(
            f"{name} is an Arrow stream, not an Arrow file: no batch of it can be found without reading all before it",
            hint="write it again with pyarrow.ipc.new_file(…), or as parquet",
        )
    table = batch_table(_reader(fd), stamp.size)
    with os.fdopen(os.dup(fd), "rb") as file, pa.ipc.open_file(pa.PythonFile(file, mode="r")) as opened:
        schema = opened.schema
    _check_names(name, list(schema), RESERVED)
    columns = {field.name: str(field.type)[:_MAX_TYPE_TEXT] for field in list(schema)[:MAX_COLUMNS]}
    counts = [rows for rows in (table.first_rows[1:] - table.first_rows[:-1]).tolist() if rows]
    largest = max((table.ends - table.starts).tolist(), default=0)
    warnings: tuple[str, ...] = ()
    if largest > MAX_ROW_GROUP_BYTES:
        warnings = (f"{name} has a record batch of {largest >> 20} MiB: readers fetch one at a time",)
    return Facts(stamp, sum(counts), columns, table.encode(), next(iter(counts), 1), warnings=warnings)


def _check_names(name: str, fields: list[pa.Field], reserved: frozenset[str], within: str = "") -> None:
    """Refuse names by which a sample would lose a value: it is a mapping, and so is each record in it."""
    seen: set[str] = set()
    for field in fields:
        if field.name in reserved or field.name in seen:
            reason = "is one of holdfast's own keys" if field.name in reserved else "is there twice"
            raise ConfigError(f"{name}: the column {within + field.name!r} {reason}", hint="rename the column")
        seen.add(field.name)
        inner = [field.type.field(at) for at in range(field.type.num_fields)]
        _check_names(name, inner, frozenset(), f"{within}{field.name}.")


def _describe_tokens(fd: int, stamp: Stamp, name: str, dtype: str) -> Facts:
    if os.pread(fd, len(_NUMPY_MAGIC), 0) == _NUMPY_MAGIC:
        raise ConfigError(
            f"{name} is a NumPy file with a header, not a stream of tokens",
            hint="write it again with array.tofile(…), which writes no header",
        )
    width = TOKEN_BYTES[dtype]
    if stamp.size % width:
        raise ConfigError(
            f"{name} has {stamp.size} bytes, which is no whole number of {dtype} tokens",
            hint="check --dtype, and that the file is complete",
        )
    return Facts(stamp, stamp.size // width, {"tokens": dtype})
