"""`DecompressedShard`: what a shard holds that is one zstd stream, decompressed once for all who share the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from ..storage.errors import ConfigError, FormatError
from ..storage.manifest import Shard
from ..storage.scatter import spread
from ..storage.shards.zstd import pieces
from .decoded_files import AbandonedError, DecodedFile, DecodedFiles, finished
from .errors import SampleError
from .shard_file import ShardFile

_LOOK_EVERY = 256  # requests, between looks whether all leaves have come: a look costs some µs


class DecompressedShard:
    """Ranges of the decompressed bytes, of which there are `size`. For one thread.

    The shard itself is fetched whole, and let go once it is decompressed: in a thread, as soon as all of it is here.
    Raises `ConfigError` when the two would not fit into the cache: what an index says may be a bomb's size.
    """

    def __init__(
        self,
        shard: Shard,
        size: int,
        open_shard: Callable[[], ShardFile],
        files: DecodedFiles,
        pool: ThreadPoolExecutor,
    ) -> None:
        if shard.bytes + size > files.max_bytes:
            raise ConfigError(
                f"{shard.path} has {size} bytes when decompressed, and the cache takes {files.max_bytes}, with the "
                f"shard's own {shard.bytes}",
                hint=f"give cache_bytes={shard.bytes + size} or more, if the dataset is to be trusted",
            )
        self._shard, self.size, self._files, self._pool = shard, size, files, pool
        self._open_shard = open_shard
        self._file: ShardFile | None = None
        self._name = f"{shard.cid}-{size}"  # another dataset's index may say another size of the same shard
        self._decoded: DecodedFile | None = files.get(self._name)
        self._made: Future[DecodedFile] | None = None
        self._broken: SampleError | None = None
        self._requests = 0
        self._closed = False

    @property
    def whole(self) -> bool:
        """See `Ranges`."""
        return self._decoded is not None and not self._decoded.closed

    def prefetch(self, start: int, end: int, urgency: float) -> int:
        """Ask for the shard, all of it; how many bytes had to be asked for."""
        if self._made is not None or self.whole or self._broken:
            return 0
        self._requests += 1
        if self._requests % _LOOK_EVERY != 1:
            return 0
        shard = self._opened()
        asked = shard.prefetch(0, self._shard.bytes, urgency)
        if not asked and shard.holds(0, self._shard.bytes):
            self._made = self._pool.submit(self._make, shard.read(0, self._shard.bytes))
        return asked

    def _opened(self) -> ShardFile:
        if self._file is None:
            self._file = self._open_shard()
        return self._file

    def copy(self, start: int, end: int) -> bytes:
        """See `Ranges`."""
        return self.read(start, end).tobytes()

    def fill(self, start: int, *outs: memoryview) -> None:
        """See `Ranges`."""
        spread(self.read(start, start + sum(map(len, outs))), outs)

    def read(self, start: int, end: int) -> memoryview:
        """The bytes [start, end). Waits; raises what fetching raises, and `SampleError` for a stream that is broken."""
        if self._broken is not None:
            raise SampleError(self._broken.message)
        if not self.whole:
            made, self._made = self._made, None
            try:
                self._decoded = made.result() if made else self._make(self._opened().read(0, self._shard.bytes))
            except FormatError as error:
                self._broken = SampleError(f"{self._shard.path}: {error.message}")
                raise self._broken from error
            self._file, self._requests = None, 0
        assert self._decoded is not None
        return self._decoded.view(start, end)

    def _make(self, data: memoryview) -> DecodedFile:
        return self._files.make(self._name, self.size, partial(self._pieces, data))

    def _pieces(self, data: memoryview) -> Iterator[memoryview]:
        for piece in pieces(data, self.size):
            if self._closed:
                raise AbandonedError
            yield piece

    def close(self) -> None:
        """Give leases back, and end what is being decompressed. Idempotent."""
        self._closed = True
        self._decoded = finished(self._made) or self._decoded
        for file in (self._decoded, self._file):
            if file is not None:
                file.close()
        self._made = None
