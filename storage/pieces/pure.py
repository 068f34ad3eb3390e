"""The tree of a piece in Python, NumPy and hashlib: always there, and what the compiled kernel is held against.

Specification: FRC-0069, and Filecoin's specification of piece commitments. Of every 254 bits two zero bits are made
256 (fr32); these 32 bytes are the leaves; a node is sha256 of its two children, with the two top bits cleared.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import numpy.typing as npt

NODE_BYTES = 32
MAX_HEIGHT = 56  # so that sizes in bytes stay below 2^63; Filecoin's largest sector has 31
_ROUND = 127 * 8192  # bytes of payload expanded at once: 1 MiB, which the caches hold
_TOP = np.uint64(0x3FFFFFFFFFFFFFFF)


def fr32(payload: bytes | bytearray | memoryview) -> bytes:
    """127 bytes become 128 each. The payload is a multiple of 127 long."""
    count, rest = divmod(len(payload), 127)
    if rest:
        raise ValueError(f"{len(payload)} bytes are no multiple of 127")
    wide = np.zeros((count, 128), np.uint8)
    wide[:, :127] = np.frombuffer(payload, np.uint8).reshape(count, 127)
    words: npt.NDArray[np.uint64] = wide.view("<u8")  # [count, 16]
    out = np.empty_like(words)
    out[:, :4] = words[:, :4]
    for quarter in (1, 2, 3):  # each begins 2 bits later than the one before
        shift, at = np.uint64(2 * quarter), 4 * quarter
        out[:, at : at + 4] = (words[:, at : at + 4] << shift) | (words[:, at - 1 : at + 3] >> (np.uint64(64) - shift))
    out[:, 3::4] &= _TOP
    return out.tobytes()


def pairs(nodes: bytes | bytearray | memoryview) -> bytes:
    """The parents of an even number of nodes, 32 bytes each."""
    if len(nodes) % 64:
        raise ValueError(f"{len(nodes)} bytes are no even number of nodes")
    sha256 = hashlib.sha256
    out = bytearray().join([sha256(both).digest() for (both,) in struct.iter_unpack("64s", nodes)])
    np.frombuffer(out, np.uint8)[31::32] &= 0x3F
    return bytes(out)


def _zeros() -> tuple[bytes, ...]:
    found = [bytes(NODE_BYTES)]
    while len(found) <= MAX_HEIGHT:
        found.append(pairs(found[-1] * 2))
    return tuple(found)


ZEROS = _zeros()
"""The root of a tree of zeros, for each height."""


def subtree(payload: bytes | bytearray | memoryview, height: int) -> bytes:
    """The root of the tree of this height over `payload`, with zeros behind it."""
    if not 2 <= height <= MAX_HEIGHT or len(payload) > 127 << (height - 2):
        raise ValueError(f"{len(payload)} bytes do not fit a tree of height {height}")
    view, nodes = memoryview(payload), bytearray()
    for at in range(0, len(view), _ROUND):
        part = view[at : at + _ROUND]
        if len(part) % 127:
            part = memoryview(bytes(part) + bytes(-len(part) % 127))
        nodes += fr32(part)
    for level in range(height):
        if not nodes:
            return ZEROS[height]
        if len(nodes) % 64:
            nodes += ZEROS[level]
        nodes = bytearray(pairs(nodes))
    return bytes(nodes)
