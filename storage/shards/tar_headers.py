"""The headers of many tar members at once, where all of them are plain: an eighth of the price of one by one.

Plain is less than what `tar.find_members` takes: a regular file of a short name, alone or behind a pax header with a
time and nothing else, in the digits that tar programs and webdataset's `ShardWriter` write. For what is not, there is
the walk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .tar import BLOCK, RESERVED, split_name

_WINDOW_BYTES = 3 * BLOCK  # a pax header, its record, and the header of the file
_RECORD = 64  # bytes of the longest record that is plain
_POWERS = 8 ** np.arange(10, -1, -1, dtype=np.int64)
_EIGHTS = 8 ** np.arange(5, -1, -1, dtype=np.int64)
_MTIME = np.frombuffer(b" mtime=", np.uint8)
_OF_TIME = np.zeros(256, bool)
_OF_TIME[np.frombuffer(b"0123456789.", np.uint8)] = True
_COLUMNS = np.arange(_RECORD)

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


class PlainMembers(NamedTuple):
    """One member of each of some samples: their keys; the extension of all; where in a window its data start; sizes."""

    keys: list[str]
    extension: str
    offset: int
    sizes: Numbers


def plain_members(windows: Bytes) -> PlainMembers | None:
    """What the members are that begin at the start of each window: uint8 [members, a block or more].

    None unless all are plain, of one extension, and alike behind a pax header or not.
    """
    first, offset = windows[:, :BLOCK], BLOCK
    if first[0, 156] == 0x78 and windows.shape[1] >= _WINDOW_BYTES:
        lengths = _checked(first, b"x")
        if lengths is None or not _are_times(windows[:, BLOCK : BLOCK + _RECORD], lengths):
            return None
        first, offset = windows[:, 2 * BLOCK : 3 * BLOCK], 3 * BLOCK
    sizes = _checked(first, b"0")
    if sizes is None or first[:, 345].any() or not first[:, 0].all():
        return None
    keys, extensions = [], set()
    for name in np.ascontiguousarray(first[:, :100]).view("S100").ravel().tolist():
        parts = split_name(name.partition(b"\0")[0].decode("utf-8", "surrogateescape"))
        if parts is None:
            return None
        keys.append(parts[0])
        extensions.add(parts[1])
    extension = extensions.pop()
    return None if extensions or extension in RESERVED else PlainMembers(keys, extension, offset, sizes)


def _checked(heads: Bytes, kind: bytes) -> Numbers | None:
    """The sizes in headers of this kind; None unless each is sound."""
    digits, check = heads[:, 124:135], heads[:, 148:154]
    octal = ((digits ^ 0x30) < 8).all() and ((check ^ 0x30) < 8).all()  # so 8 and 9 become 8 and 9, and all else more
    ends = ((heads[:, 135] & 0xDF) == 0).all() and not heads[:, 154].any() and (heads[:, 155] == 0x20).all()
    if not octal or not ends or not (heads[:, 156] == kind[0]).all():
        return None
    field = heads[:, 148:156].sum(axis=1, dtype=np.uint32)
    if not np.array_equal(heads.sum(axis=1, dtype=np.uint32) - field + 8 * 0x20, (check ^ 0x30) @ _EIGHTS):
        return None
    sizes: Numbers = (digits ^ 0x30) @ _POWERS
    return sizes


def _are_times(records: Bytes, lengths: Numbers) -> bool:
    """Whether each is one record `NN mtime=…` of its length, in bytes: one that says nothing of the file's name."""
    if lengths.min() < 10 or lengths.max() > _RECORD:
        return False
    tens, ones = np.divmod(lengths, 10)
    ends = records[np.arange(len(records)), lengths - 1]
    inside = (_COLUMNS >= 9) & (lengths[:, None] - 1 > _COLUMNS)
    return bool(
        (records[:, 0] == tens + 0x30).all()
        and (records[:, 1] == ones + 0x30).all()
        and (records[:, 2:9] == _MTIME).all()
        and (ends == 0x0A).all()
        and (_OF_TIME[records] | ~inside).all()
    )
