"""Where the samples of a shard start, from its published index."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...storage.errors import FormatError
from ...storage.manifest import Shard


def offsets_of(shard: Shard, index: bytes, size: int | None) -> npt.NDArray[np.uint64]:
    """u64 little-endian, samples + 1 offsets in bytes. `size`: of what they point into; None: the last one says it.

    Raises `FormatError` when they do not ascend, or leave it.
    """
    if len(index) != 8 * (shard.samples + 1):
        raise FormatError(f"the index of {shard.path} has {len(index)} bytes, expected {8 * (shard.samples + 1)}")
    offsets = np.frombuffer(index, dtype="<u8")
    limit = (1 << 62) if size is None else size
    if offsets[-1] > limit or np.any(offsets[1:] < offsets[:-1]):
        raise FormatError(f"the index of {shard.path} does not ascend within its {limit} bytes")
    return offsets
