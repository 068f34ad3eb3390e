"""`StreamingDataset`: a published dataset in a torch `DataLoader`: verified, in one global order, from many sources."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..storage.errors import ConfigError
from ..storage.manifest import Head
from ..storage.session import SourcesArgument
from ..storage.uri import DatasetUri
from .access import Access
from .decode import Decode
from .order import Order
from .share import TAILS, Share, Tail
from .shared_start import SharedStart
from .state import Dealt, Pass, State
from .stats import LoaderStats


class StreamingDataset(IterableDataset[Any]):
    """Samples of `uri`, every byte hashed before a sample is built from it.

    The order is a pure function of (root, seed, epoch, position): the same for any number of workers, whatever
    is cached and whoever is reachable. Each sample comes exactly once per epoch over all ranks and workers; `tail` says
    what happens where they do not divide it. Call `set_epoch` before each epoch, as with torch's own
    `DistributedSampler`; without it every pass is epoch 0. `state_dict` and `load_state_dict` go on in the middle of
    one: by themselves, in a torchdata `StatefulDataLoader`, and best by `holdfast.DataLoader`.

    Args:
        uri: `ipfs://CID` as `holdfast publish` printed it.
        sources: URLs, a roster path or a `Roster`; None: `$HOLDFAST_ROSTER`, else the user's default roster.
        batch_size: the DataLoader's; needed with two workers or more, because torch deals batches to workers.
        seed, shuffle: of the order; `shuffle=False` is the order of the shards.
        cache: a folder (default: the user's cache folder); shared by workers and runs.
        cache_bytes: its budget in bytes.
        decode: "torch" or "pil" (an allow-list; images become tensors or PIL images), a callable, or None (bytes).
        rank, world_size: default to torch.distributed's, if it is initialised when the dataset is made.
        tail: where `world_size` does not divide the samples: "repeat" the first few, so that every rank has as many
            (and none waits for another for ever); "drop" the last few; "exact": some ranks have one more.
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
        tail: Tail = "repeat",
        partition: str | None = None,
        seq_len: int | None = None,
        prefetch_bytes: int = 64 << 20,
        deadline_s: float | None = None,
        reverify: bool = False,
        allow_net: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._access = Access(
            uri, sources=sources, cache=cache, cache_bytes=cache_bytes, decode=decode, partition=partition,
            seq_len=seq_len, prefetch_bytes=prefetch_bytes, deadline_s=deadline_s, reverify=reverify,
            allow_net=allow_net,
        )  # fmt: skip
        if tail not in TAILS:
            raise ConfigError(f"tail={tail!r}", hint=f"expected one of {', '.join(TAILS)}")
        self.batch_size, self.seed, self.shuffle, self.tail = batch_size, _seed(seed), shuffle, tail
        self.rank, self.world_size = _rank(rank, world_size)
        self._next = SharedStart()
        self._resumed: State | None = None  # of this process alone: a worker's own
        self._share: Share | None = None  # of the pass that this process makes or made last
        self._reading = self._taken = 0  # its epoch, and how many samples of it were delivered

    @property
    def uri(self) -> DatasetUri:
        """What is read."""
        return self._access.uri

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass: it shuffles anew."""
        if epoch < 0:
            raise ValueError(f"epoch {epoch}: expected 0 or more")
        self._next.set_epoch(epoch)

    def next_start(self) -> tuple[int, int]:
        """The epoch of the next pass, and the position at which it begins: 0 unless a state was loaded."""
        return self._next.peek()

    def state_dict(self) -> dict[str, Any]:
        """Where this dataset stands: a small dict of numbers and texts, for a checkpoint. O(1), whatever was read.

        What was delivered is what this process iterated. Raises `ConfigError` where workers of a plain torch
        `DataLoader` did that: they read ahead, and nobody here knows how far their samples were used.
        """
        worker = get_worker_info()
        if worker is None and self._next.workers:
            raise ConfigError(
                "the workers of a plain torch DataLoader do not say how much of what they read was used",
                hint="use holdfast.DataLoader, or torchdata's StatefulDataLoader, and call their state_dict()",
            )
        if self._share is None or (worker is None and self._reading != self._next.peek()[0]):
            return self.state_at(*self._next.peek(), 0)
        if self._share.workers == 1:
            return self._state(self._reading, self._share.position_behind(self._taken)).encode()
        return State(self._pass(), self._reading, self._share.start, self._taken, self._dealt(self._share)).encode()

    def state_at(self, epoch: int, start: int, delivered: int) -> dict[str, Any]:
        """The state of a pass that began at `start` when each rank has delivered so many of its samples."""
        if delivered:
            start = Share(self._samples(), self.rank, self.world_size, start=start).position_behind(delivered)
        return self._state(epoch, start).encode()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned: the next pass begins there. Raises `ConfigError` for another's state.

        Nothing is read again. Ranks and workers may be others than when it was saved, but for a state that a worker of
        a torchdata `StatefulDataLoader` saved for itself.
        """
        found = State.decode(state, self._pass())
        self._share = None
        if get_worker_info() is None and not found.taken:
            self._next.resume(found.epoch, found.start)
        else:
            self._resumed = found

    def _state(self, epoch: int, start: int) -> State:
        return State(self._pass(), epoch, start)

    def _pass(self) -> Pass:
        return Pass(str(self.uri.root), self._access.partition, self._access.seq_len, self.seed, self.shuffle)

    def _samples(self) -> int:
        return self._access.view().samples

    def _dealt(self, share: Share) -> Dealt:
        return Dealt(share.rank, share.world_size, share.worker, share.workers, share.batch_size, share.tail)

    def _begin(self, number: int, workers: int) -> Share:
        """A pass begins: at its start, or where a loaded state says."""
        self._reading, start = self._next.take(number, workers, in_worker=get_worker_info() is not None)
        self._taken, resumed, self._resumed = 0, self._resumed, None
        if resumed is not None:
            self._reading, start, self._taken = resumed.epoch, resumed.start, resumed.taken
        share = Share(
            self._samples(), self.rank, self.world_size, number, workers, self.batch_size or 1, start, self.tail
        )
        if resumed is not None:
            resumed.check_dealt(self._dealt(share))
        self._share = share
        return share

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if workers > 1 and self.batch_size is None:
            raise ConfigError(
                f"StreamingDataset needs batch_size with {workers} workers: torch deals whole batches to them",
                hint="pass the DataLoader's batch_size to StreamingDataset too",
            )
        view, share = self._access.view(), self._begin(number, workers)
        order = Order(bytes(self.uri.root), self.seed, self._reading, view.parameters, self.shuffle)
        for sample in self._access.samples(order.samples_at(part) for part in share.positions(self._taken)):
            self._taken += 1
            yield sample

    def __len__(self) -> int:
        """Samples that this rank delivers in an epoch."""
        return Share(self._samples(), self.rank, self.world_size, tail=self.tail).rank_samples

    @property
    def head(self) -> Head:
        """`dataset.json`: counts, columns, partitions."""
        return self._access.head

    def stats(self) -> LoaderStats:
        """What this process has read so far, and from where; workers count for themselves."""
        return self._access.stats()

    def close(self) -> None:
        """End this process's threads and connections. The next iteration opens them again."""
        self._access.close()


def _seed(seed: object) -> int:
    try:
        number = operator.index(seed)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"seed={seed!r}", hint="a seed is a whole number from 0 to 2**64 - 1") from None
    if not 0 <= number < 1 << 64:
        raise ConfigError(f"seed={seed!r}", hint="a seed is a whole number from 0 to 2**64 - 1")
    return number


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
