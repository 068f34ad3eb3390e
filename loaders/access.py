"""`Access`: what every surface over a dataset shares: where it is, the cache, decoding, and what a process has open."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..configs.settings import Settings, cache_folder
from ..storage.manifest import Head
from ..storage.session import SourcesArgument, choose_sources, user_policy
from ..storage.sources.netguard import NetGuard
from ..storage.uri import DatasetUri
from .decode import Decode, make_decoder
from .errors import SampleError
from .readers.reader import Sample
from .runtime import CacheOptions, Runtime
from .stats import LoaderStats
from .stream import stream
from .view import View


class Access:
    """The arguments are those of `StreamingDataset`. Crosses a pickle and a fork; threads and sockets do not.

    Raises `ConfigError` for wrong input, at once.
    """

    def __init__(
        self,
        uri: str,
        *,
        sources: SourcesArgument,
        cache: str | os.PathLike[str] | None,
        cache_bytes: int | None,
        decode: Decode,
        partition: str | None,
        seq_len: int | None,
        prefetch_bytes: int,
        deadline_s: float | None,
        reverify: bool,
        allow_net: Sequence[str],
    ) -> None:
        self.uri = DatasetUri.parse(uri)
        self.partition, self.seq_len = partition, seq_len
        self._sources, self._guard = sources, NetGuard.parse(allow_net)
        choose_sources(sources, redirects=self._guard)  # a bad roster is the user's mistake: said here, not in a worker
        settings = Settings.load(os.environ)
        folder = Path(cache) if cache is not None else cache_folder(os.environ) / "loader"
        budget = settings.cache.max_bytes if cache_bytes is None else cache_bytes
        self._cache = CacheOptions(folder, budget, secrets.randbits(63), reverify, max(prefetch_bytes, 1 << 20))
        self._prefetch_bytes = prefetch_bytes
        self._decoder: Callable[[Sample], Any] | None = make_decoder(decode)
        self._policy = user_policy(deadline_s)
        self._runtime: Runtime | None = None
        self._view: View | None = None

    def runtime(self) -> Runtime:
        """Engine, cache and open shards of this process."""
        if self._runtime is None or self._runtime.pid != os.getpid():
            # after a fork the parent's threads and sockets are not ours: leave them, make our own
            sources = choose_sources(self._sources, redirects=self._guard)
            self._runtime = Runtime(self.uri.root, sources, self._cache, self._policy).open()
            weakref.finalize(self, self._runtime.close)  # a dataset that is dropped ends its threads
        return self._runtime

    def view(self) -> View:
        """The samples, by number."""
        runtime = self.runtime()
        if self._view is None or self._view.runtime is not runtime:
            self._view = View(runtime, self.partition, self.seq_len)
        return self._view

    def samples(self, indices: Iterator[npt.NDArray[np.int64]]) -> Iterator[Any]:
        """Samples by number, in any order, decoded; the bytes of the next ones are asked for meanwhile."""
        view, runtime = self.view(), self.runtime()
        runtime.meter.begin()
        runtime.recheck()
        ahead = max(view.max_open // 2, 1)
        for sample in stream(indices, view.locate, view.reader, self._prefetch_bytes, ahead):
            made = sample if self._decoder is None else self._decode(sample)
            runtime.meter.samples += 1
            yield made

    def _decode(self, sample: Sample) -> Any:
        assert self._decoder is not None
        try:
            return self._decoder(sample)
        except SampleError:
            raise
        except Exception as error:
            raise SampleError(
                f"decode= failed on sample {sample['__key__']!r} (index {sample['__index__']}): {error}"
            ) from error

    @property
    def head(self) -> Head:
        """`dataset.json`."""
        return self.runtime().dataset.head

    def stats(self) -> LoaderStats:
        """What this process has read so far, and from where."""
        return LoaderStats() if self._runtime is None else self._runtime.meter.snapshot(self._runtime.engine)

    def close(self) -> None:
        """End this process's threads and connections. The next use opens them again."""
        if self._runtime is not None:
            self._runtime.close()
        self._runtime = self._view = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_runtime": None, "_view": None}
