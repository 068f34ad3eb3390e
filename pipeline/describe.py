"""Describe a shard: how many samples it holds, and where they start. Reads headers and footers, never payload."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage.blocks.stamp import Stamp
from ..storage.errors import ConfigError, FormatError
from ..storage.limits import MIB
from ..storage.manifest import ShardFormat
from ..storage.shards.tar import RESERVED, samples
from ..storage.shards.tokens import TOKEN_BYTES
from .skipped import MAX_NAMED, printable

MAX_ROW_GROUP_BYTES = 256 * MIB
MAX_COLUMNS = 256
_MAX_TYPE_TEXT = 512
_NUMPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a shard says of itself. `stamp`: the file that was read, to be compared with the one that was hashed.

    `index`: u64 little-endian offsets of every sample and of the end of the last one. `run`: rows of the first
    row group. `left_out`: members that are no part of a sample, and why; the first of `left_out_count`.
    """

    stamp: Stamp
    samples: int
    columns: dict[str, str]
    index: bytes | None = None
    run: int = 1
    left_out: tuple[tuple[str, str], ...] = ()
    left_out_count: int = 0
    warnings: tuple[str, ...] = ()


def describe(path: Path, name: str, format_: ShardFormat, dtype: str | None) -> Facts:
    """The facts of one shard; `name` is what messages call it. Raises `ConfigError` for one that is broken."""
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stamp = Stamp.of(fd)
        if format_ == "tar":
            return _describe_tar(fd, stamp, name)
        if format_ == "parquet":
            return _describe_parquet(fd, stamp, name)
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


def _describe_tar(fd: int, stamp: Stamp, name: str) -> Facts:
    offsets = array("Q")
    columns: dict[str, str] = {}
    left_out: list[tuple[str, str]] = []
    count = end = 0

    def leave_out(member: str, reason: str) -> None:
        nonlocal count
        count += 1
        if len(left_out) < MAX_NAMED:
            left_out.append((f"{name}: {member}", reason))

    for span in samples(_reader(fd), stamp.size, leave_out):
        offsets.append(span.start)
        end = span.end
        for extension in map(printable, span.extensions):
            if extension not in columns and len(columns) < MAX_COLUMNS:
                columns[extension] = "bytes"
    if not offsets:
        first = f"; the first, {printable(left_out[0][0])!r}: {left_out[0][1]}" if left_out else ""
        raise ConfigError(
            f"{name} holds no sample: none of its members is a file whose name has an extension{first}",
            hint="name members KEY.EXTENSION, as WebDataset does",
        )
    offsets.append(end)
    if sys.byteorder == "big":
        offsets.byteswap()
    return Facts(stamp, len(offsets) - 1, columns, offsets.tobytes(), 1, tuple(left_out), count)


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
