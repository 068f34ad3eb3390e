"""`TarReader`: samples of a WebDataset tar by its published index; no header is walked to find one."""

from __future__ import annotations

import numpy as np

from ...storage.errors import FormatError
from ...storage.manifest import Shard
from ...storage.shards.tar import read_sample
from ..errors import SampleError
from ..shard_file import ShardFile
from .reader import Sample


class TarReader:
    """A `Reader`. `index`: u64 little-endian, samples + 1 offsets in bytes."""

    def __init__(self, shard: Shard, file: ShardFile, index: bytes) -> None:
        self._shard, self._file = shard, file
        if len(index) != 8 * (shard.samples + 1):
            raise FormatError(f"the index of {shard.path} has {len(index)} bytes, expected {8 * (shard.samples + 1)}")
        self._offsets = np.frombuffer(index, dtype="<u8")
        if self._offsets[-1] > shard.bytes or np.any(self._offsets[1:] < self._offsets[:-1]):
            raise FormatError(f"the index of {shard.path} does not ascend within its {shard.bytes} bytes")

    def _span(self, index: int) -> tuple[int, int]:
        return int(self._offsets[index]), int(self._offsets[index + 1])

    def prefetch(self, index: int, urgency: float) -> int:
        """See `Reader.prefetch`."""
        return self._file.prefetch(*self._span(index), urgency)

    def sample(self, index: int) -> Sample:
        """Extension → bytes."""
        try:
            key, fields = read_sample(self._file.read(*self._span(index)))
        except FormatError as error:
            raise SampleError(f"{self._shard.path}, sample {index}: {error.message}") from error
        return {**fields, "__key__": key}
