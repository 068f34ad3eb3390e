"""Describe the members of a tar, wherever its bytes come from."""

from __future__ import annotations

from array import array

from ..storage.blocks.stamp import Stamp
from ..storage.errors import ConfigError
from ..storage.shards.tar import Read, samples
from .facts import MAX_COLUMNS, Facts, LeftOut, offsets_bytes
from .skipped import printable


def describe_members(read: Read, size: int, stamp: Stamp, name: str) -> Facts:
    """The facts of a tar of `size` bytes; `read(start, end)` gives its bytes, and is asked in ascending order.

    Raises `ConfigError` when it holds no sample, `FormatError` when it is no tar.
    """
    offsets, left_out = array("Q"), LeftOut(name)
    columns: dict[str, str] = {}
    end = 0
    for span in samples(read, size, left_out.add):
        offsets.append(span.start)
        end = span.end
        for extension in map(printable, span.extensions):
            if extension not in columns and len(columns) < MAX_COLUMNS:
                columns[extension] = "bytes"
    named = left_out.named
    if not offsets:
        first = f"; the first, {printable(named[0][0])!r}: {named[0][1]}" if named else ""
        raise ConfigError(
            f"{name} holds no sample: none of its members is a file whose name has an extension{first}",
            hint="name members KEY.EXTENSION, as WebDataset does",
        )
    offsets.append(end)
    return Facts(stamp, len(offsets) - 1, columns, offsets_bytes(offsets), 1, tuple(named), left_out.count)
