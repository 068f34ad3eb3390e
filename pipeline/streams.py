"""Describe shards that are zstd streams, `.tar.zst` and `.jsonl.zst`: they are decompressed once, and not kept."""

from __future__ import annotations

import io
import os
from array import array
from typing import BinaryIO, cast

from ..storage.blocks.stamp import Stamp
from ..storage.errors import ConfigError
from ..storage.limits import MIB
from ..storage.shards.tar import RESERVED
from ..storage.shards.zstd import Forward, decompressed
from .facts import MAX_COLUMNS, Facts, LeftOut, offsets_bytes
from .pack.jsonl import parse_line
from .pack.source import MAX_ROW_BYTES
from .skipped import printable
from .tars import describe_members

_ENDLESS = 1 << 62  # where a stream ends, only its end says


def describe_tar_stream(fd: int, stamp: Stamp, name: str) -> Facts:
    """The facts of a `.tar.zst`: offsets are in the decompressed tar."""
    with os.fdopen(os.dup(fd), "rb") as file, decompressed(file) as stream:
        facts = describe_members(Forward(stream).read, _ENDLESS, stamp, name)
        while stream.read(MIB):  # to the end: a copy that was cut there is no whole file
            pass
    return facts


def describe_jsonl_stream(fd: int, stamp: Stamp, name: str) -> Facts:
    """The facts of a `.jsonl.zst`: a sample is a line that is a JSON object; offsets are in the decompressed text."""
    offsets, left_out = array("Q"), LeftOut(name)
    columns: dict[str, str] = {}
    at = end = 0
    with os.fdopen(os.dup(fd), "rb") as file, decompressed(file) as stream:
        text = cast(BinaryIO, io.BufferedReader(stream, MIB))
        number = 0
        while line := text.readline(MAX_ROW_BYTES + 1):
            start, number = at, number + 1
            at += len(line)
            whole = line if len(line) <= MAX_ROW_BYTES else None
            while whole is None and line and not line.endswith(b"\n"):
                line = text.readline(MIB)
                at += len(line)
            row = parse_line(whole, first=number == 1)
            if isinstance(row, dict) and (reserved := RESERVED.intersection(row)):
                row = f"{min(reserved)!r} is one of holdfast's own keys"
            if isinstance(row, dict):
                offsets.append(start)
                end = at
                columns |= {printable(key): "json" for key in row if len(columns) < MAX_COLUMNS}
            elif row:
                left_out.add(f"line {number}", row)
    if not offsets:
        raise ConfigError(f"{name} holds no JSON object on a line", hint="write one object a line")
    offsets.append(end)
    index = offsets_bytes(offsets)
    return Facts(stamp, len(offsets) - 1, columns, index, 1, tuple(left_out.named), left_out.count)
