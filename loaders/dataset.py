"""`StreamingDataset`: a published dataset in a torch `DataLoader`: verified, in one global order, from many sources."""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..configs.settings import Settings, cache_folder
from ..storage.errors import ConfigError
from ..storage.fetch.scoreboard import SourceStats
from ..storage.manifest import Head
from ..storage.session import SourcesArgument, choose_sources, user_policy
from ..storage.sources.netguard import NetGuard
from ..storage.uri import DatasetUri
from .decode import Decode, make_decoder
from .errors import SampleError
from .order import Order
from .readers.reader import Sample
from .runtime import CacheOptions, Runtime
from .slice import Slice
from .stream import stream
from .view import View


class StreamingDataset(IterableDataset[Any]):
    """Samples of `uri`, every byte hashed before a sample is built from it.

    The order is a pure function of (root, seed, epoch, position): the same for any number of workers, whatever
    is cached and whoever is reachable. Each sample comes exactly once per epoch over all ranks and workers.
    Call `set_epoch` before each epoch, as with torch's own `DistributedSampler`; without it every pass is epoch 0.

    Args:
        uri: `ipfs://CID` as `holdfast publish` printed it.
        sources: URLs, a roster path or a `Roster`; None: `$HOLDFAST_ROSTER`, else the user's default roster.
        batch_size: the DataLoader's; needed with two workers or more, because torch deals batches to workers.
        seed, shuffle: of the order; `shuffle=False` is the order of the shards.
        cache: a folder (default: the user's cache folder); shared by workers and runs.
        cache_bytes: its budget in bytes.
        decode: "torch" or "pil" (an allow-list; images become tensors or PIL images), a callable, or None (bytes).
        rank, world_size: default to torch.distributed's, if it is initialised when the dataset is made.
        partition: one named part of the dataset.
        seq_len: for token datasets: a sample holds seq_len + 1 tokens.
        prefetch_bytes: how far ahead of the consumer bytes are asked for, per worker.
        deadline_s: seconds without progress on a leaf before `UnavailableError`.
        reverify: hash warm cache files again, stamps or not.
        allow_net: ranges (CIDR) that redirects may lead to although they are not public.

    Raises:
        ConfigError: wrong input, at once.
        UnavailableError, IntegrityError, SampleError: from iteration, naming object and sources.

    """

    def __init__(
        self,
        uri: str,
        *,
        sources: SourcesArgument = None,
        batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int | None = None,
        decode: Decode = None,
        rank: int | None = None,
        world_size: int | None = None,
        partition: str | None = None,
        seq_len: int | None = None,
        prefetch_bytes: int = 64 << 20,
        deadline_s: float | None = None,
        reverify: bool = False,
        allow_net: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.uri = DatasetUri.parse(uri)
        self._sources, self._guard = sources, NetGuard.parse(allow_net)
        choose_sources(sources, redirects=self._guard)  # a bad roster is the user's mistake: said here, not in a worker
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.partition, self.seq_len, self.prefetch_bytes = partition, seq_len, prefetch_bytes
        self.rank, self.world_size = _rank(rank, world_size)
        settings = Settings.load(os.environ)
        folder = Path(cache) if cache is not None else cache_folder(os.environ) / "loader"
        budget = settings.cache.max_bytes if cache_bytes is None else cache_bytes
        self._cache = CacheOptions(folder, budget, secrets.randbits(63), reverify, max(prefetch_bytes, 1 << 20))
        self._decoder: Callable[[Sample], Any] | None = make_decoder(decode)
        self._policy = user_policy(deadline_s)
        # in shared memory: workers that live on between epochs see the change
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._runtime: Runtime | None = None
        self._seen: View | None = None

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass: it shuffles anew."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch}: expected 0 or more")
        self._epoch[0] = epoch

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if workers > 1 and self.batch_size is None:
            raise ConfigError(
                f"StreamingDataset needs batch_size with {workers} workers: torch deals whole batches to them",
                hint="pass the DataLoader's batch_size to StreamingDataset too",
            )
        runtime, view = self._open(), self._view()
        part = Slice(view.samples, self.rank, self.world_size, number, workers, self.batch_size or 1)
        order = Order(bytes(self.uri.root), self.seed, int(self._epoch[0]), view.parameters, self.shuffle)
        chosen = (order.samples_at(positions) for positions in part.positions())
        runtime.recheck()
        ahead = max(view.max_open // 2, 1)
        for sample in stream(chosen, view.locate, view.reader, self.prefetch_bytes, ahead):
            yield sample if self._decoder is None else self._decode(sample)

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

    def __len__(self) -> int:
        """Samples that this rank delivers in an epoch."""
        return Slice(self._view().samples, self.rank, self.world_size).rank_samples

    @property
    def head(self) -> Head:
        """`dataset.json`: counts, columns, partitions."""
        return self._open().dataset.head

    def stats(self) -> list[SourceStats]:
        """What each source did for this process; workers count for themselves."""
        return [] if self._runtime is None else self._runtime.engine.stats()

    def close(self) -> None:
        """End this process's threads and connections. The next iteration opens them again."""
        if self._runtime is not None:
            self._runtime.close()
        self._runtime = self._seen = None

    def _open(self) -> Runtime:
        if self._runtime is None or self._runtime.pid != os.getpid():
            # after a fork the parent's threads and sockets are not ours: leave them, make our own
            sources = choose_sources(self._sources, redirects=self._guard)
            self._runtime = Runtime(self.uri.root, sources, self._cache, self._policy).open()
            weakref.finalize(self, self._runtime.close)  # a dataset that is dropped ends its threads
        return self._runtime

    def _view(self) -> View:
        runtime = self._open()
        if self._seen is None or self._seen.runtime is not runtime:
            self._seen = View(runtime, self.partition, self.seq_len)
        return self._seen

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_runtime": None, "_seen": None}


def _rank(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise ConfigError("rank and world_size belong together", hint="give both, or neither")
    if rank is None or world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} of world_size {world_size}", hint="ranks count from 0")
    return rank, world_size
