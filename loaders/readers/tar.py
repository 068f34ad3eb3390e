"""`TarReader`: samples of a WebDataset tar by its published index; no header is walked to find one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.tar import find_members, read_sample
from ..errors import SampleError
from .reader import Ranges, Sample

MAX_SAMPLE_BYTES = 1 << 30  # that are copied into memory for one sample


class TarReader:
    """A `Reader`. `offsets`: where each sample starts, and the end of the last. `views`: members are not copied.

    `beside`: bytes in the cache that `file` takes beside the shard.
    """

    def __init__(
        self, shard: Shard, file: Ranges, offsets: npt.NDArray[np.uint64], *, views: bool = False, beside: int = 0
    ) -> None:
        self._shard, self._file, self._offsets, self._views = shard, file, offsets, views
        self.held_bytes = shard.bytes + beside

    def close(self) -> None:
        """See `Reader.close`."""
        self._file.close()

    def span(self, index: int) -> tuple[int, int]:
        """Where a sample starts and ends in the shard."""
        return int(self._offsets[index]), int(self._offsets[index + 1])

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        return self._file.prefetch(*self.span(index), urgency)

    def _check_size(self, index: int, size: int) -> None:
        if size > MAX_SAMPLE_BYTES:
            raise SampleError(
                f"{self._shard.path}, sample {index}: {size} bytes, expected at most {MAX_SAMPLE_BYTES}",
                hint='decode="memoryview" gives members as views, which take no memory of their own',
            )

    def sample(self, index: int) -> Sample:
        """Extension → bytes, or a view of them."""
        start, end = self.span(index)
        copy = self._file.copy
        if not self._views:
            self._check_size(index, end - start)
        try:
            if self._views:
                key, views = read_sample(self._file.read(start, end))
                return {"__key__": key, **views}
            key, found = find_members(lambda low, high: copy(start + low, start + high), end - start)
        except FormatError as error:
            raise SampleError(f"{self._shard.path}, sample {index}: {error.message}") from error
        return {"__key__": key, **{name: copy(start + low, start + high) for name, (low, high) in found.items()}}
