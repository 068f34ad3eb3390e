"""`JsonlReader`: lines of JSON by their published index."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from ...storage.manifest import Shard
from ..errors import SampleError
from .reader import Ranges, Sample

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FIRST_BYTES = 1 << 16  # most lines end in it

MAX_LINE_BYTES = 64 << 20  # a longer one is published as no sample


class JsonlReader:
    """A `Reader`. `offsets`: where the line of each sample starts, and the end of the last.

    `beside`: bytes in the cache that `file` takes beside the shard.
    """

    def __init__(self, shard: Shard, file: Ranges, offsets: npt.NDArray[np.uint64], *, beside: int = 0) -> None:
        self._shard, self._file, self._offsets = shard, file, offsets
        self.held_bytes = shard.bytes + beside

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        return self._file.prefetch(int(self._offsets[index]), int(self._offsets[index + 1]), urgency)

    def sample(self, index: int) -> Sample:
        """Key → JSON value; the key is `path#number`."""
        line = self._line(index).removeprefix(_BYTE_ORDER_MARK)
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SampleError(f"{self._shard.path}, sample {index}: not JSON: {str(error)[:120]}") from error
        if not isinstance(sample, dict):
            raise SampleError(f"{self._shard.path}, sample {index}: not a JSON object")
        sample["__key__"] = f"{self._shard.path}#{index}"
        return sample

    def _line(self, index: int) -> bytes:
        """What comes before the line's end: lines that are no samples may follow."""
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        size = _FIRST_BYTES
        while True:
            line, ended, _ = self._file.copy(start, min(start + size, end)).partition(b"\n")
            if len(line) > MAX_LINE_BYTES:
                raise SampleError(f"{self._shard.path}, sample {index}: a line of more than {MAX_LINE_BYTES} bytes")
            if ended or start + size >= end:
                return line
            size = min(8 * size, MAX_LINE_BYTES + 1)
