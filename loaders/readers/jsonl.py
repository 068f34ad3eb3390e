"""`JsonlReader`: lines of JSON by their published index."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from ...storage.manifest import Shard
from ..errors import SampleError
from .reader import Ranges, Sample

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonlReader:
    """A `Reader`. `offsets`: where the line of each sample starts, and the end of the last."""

    def __init__(self, shard: Shard, file: Ranges, offsets: npt.NDArray[np.uint64]) -> None:
        self._shard, self._file, self._offsets = shard, file, offsets

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        return self._file.prefetch(int(self._offsets[index]), int(self._offsets[index + 1]), urgency)

    def sample(self, index: int) -> Sample:
        """Key → JSON value; the key is `path#number`."""
        data = self._file.copy(int(self._offsets[index]), int(self._offsets[index + 1]))
        line = data.partition(b"\n")[0].removeprefix(_BYTE_ORDER_MARK)  # lines that are no samples may follow
        try:
            sample = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SampleError(f"{self._shard.path}, sample {index}: not JSON: {str(error)[:120]}") from error
        if not isinstance(sample, dict):
            raise SampleError(f"{self._shard.path}, sample {index}: not a JSON object")
        sample["__key__"] = f"{self._shard.path}#{index}"
        return sample
