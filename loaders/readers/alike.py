"""`take_alike`: samples of tars that are laid out as the first of their batch is: read as arrays, and checked as such.

The bytes of a member go to where they stay; headers, labels and gaps go to one array beside them, and are looked at for
all samples at once. Samples that lie behind one another take one call of the system.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...storage.shards.tar import BLOCK
from ...storage.shards.tar_headers import Bytes, plain_members
from ..decode import handler_of
from .member_column import MemberColumn
from .tar import MAX_SAMPLE_BYTES
from .tar_tensors import Located, TensorTarReader

_MAX_PIECES = 512  # for one call of the system, which takes 1,024; a sample of more takes several


class Span(NamedTuple):
    """Where a sample lies: the bytes [start, end) of a shard."""

    reader: TensorTarReader
    start: int
    end: int


Taken = tuple[list[str], dict[str, MemberColumn]]


class _Member(NamedTuple):
    """Of each sample alike: where the headers and the data of a member start, and its size.

    `apart`: bytes before the headers that went to columns.
    """

    extension: str
    headers: int
    data: int
    size: int
    apart: int


def take_alike(spans: Sequence[Span], first: Located) -> Taken | None:
    """Keys, and extension → column, of samples that are like the `first` of them; None where they are not, or not
    plain. Raises what waiting for their bytes raises, and `SampleError` for a label that is none.
    """
    length = spans[0].end - spans[0].start
    members = _members(first)
    if len(spans) * length > MAX_SAMPLE_BYTES or any(end - start != length for _, start, end in spans):
        return None
    columns = {member.extension: MemberColumn(len(spans), handler_of(member.extension)) for member in members}
    arrays = {
        member.extension: columns[member.extension].rows(member.size)
        for member in members
        if columns[member.extension].handler is None
    }
    rest = np.empty((len(spans), length - sum(array.shape[1] for array in arrays.values())), np.uint8)
    _fill(spans, members, arrays, rest)
    keys: list[str] = []
    at = 0
    for member in members:
        found = plain_members(rest[:, member.headers - member.apart :])
        if found is None or found.keys != (keys or found.keys) or found.extension != member.extension:
            return None
        if member.headers != at or member.headers + found.offset != member.data:
            return None
        at = member.data + _padded(member.size)
        if (_padded(found.sizes) != _padded(member.size)).any():
            return None
        keys = found.keys
        column = columns[member.extension]
        if column.handler is None:
            if (found.sizes != member.size).any():
                return None
            continue
        low = member.data - member.apart
        for span, key, label, size in zip(spans, keys, rest[:, low:], found.sizes.tolist(), strict=True):
            column.values.append(span.reader.decoded(key, member.extension, label[:size].tobytes(), column.handler))
    return (keys, columns) if at == length else None


def _padded(size: Any) -> Any:
    return -(-size // BLOCK) * BLOCK


def _members(first: Located) -> list[_Member]:
    members, at, apart = [], 0, 0
    for extension, (low, high) in first.spans.items():
        members.append(_Member(extension, at, low, high - low, apart))
        at = low + _padded(high - low)
        apart += 0 if handler_of(extension) else high - low
    return members


def _fill(spans: Sequence[Span], members: Sequence[_Member], arrays: dict[str, Bytes], rest: Bytes) -> None:
    cuts = [(member.data - member.apart, arrays[member.extension]) for member in members if member.extension in arrays]

    def pieces(number: int) -> Iterator[memoryview]:
        at, own = 0, rest[number]
        for cut, array in cuts:
            yield own[at:cut].data
            yield array[number].data
            at = cut
        yield own[at:].data

    most = max(1, _MAX_PIECES // (2 * len(cuts) + 1))
    begin = 0
    for number in range(1, len(spans) + 1):
        reader, start, _ = spans[begin]
        if number < len(spans) and number - begin < most:
            following, last = spans[number], spans[number - 1]
            if following.reader is reader and following.start == last.end:
                continue
        reader.fill(start, *(piece for each in range(begin, number) for piece in pieces(each)))
        begin = number
