"""`DataLoader`: torch's over our datasets, with a state that any number of workers and ranks can go on from."""

from __future__ import annotations

import inspect
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch.utils.data

from ..storage.errors import ConfigError
from .arguments import checked_whole
from .dataset import StreamingDataset
from .elastic import ElasticDataset
from .errors import SampleError
from .passage import Terms
from .progress_line import ProgressLine
from .readers.collated import collate_tensors
from .skip import HOLE, Collate, Counted, in_step, without_holes
from .stats import LoaderStats

_OF_DATASET = frozenset(inspect.signature(StreamingDataset.__init__).parameters) - {"self", "uri", "batch_size"}

_LOOK_S = 0.5


@dataclass(slots=True)
class _Delivery:
    """A pass: its epoch, the position that it began at, and how many batches of it the caller had."""

    epoch: int
    start: int
    batches: int = 0


class DataLoader(torch.utils.data.DataLoader[Any]):
    """Batches of a dataset, verified, in its order. `DataLoader("ipfs://…", batch_size=32, sources=[…])` is enough.

    `state_dict()` says how many batches this loader has *delivered*, whatever its workers have read ahead; a loader
    with other workers, another batch size or another world goes on from it, exactly (docs/order.md, §5). Save it on
    any rank after the same number of steps.

    Args:
        dataset: a `StreamingDataset` or `Mixture`, or the URI of a dataset; then `options` may hold what
            `StreamingDataset` takes.
        batch_size: samples a batch; None: as many as the dataset was made with, or 1.
        num_workers: processes that decode, or collate; 0: this one. None is started where samples are neither decoded
            (`decode=None`) nor collated by a function of yours: then they are built here, out of the cache's map.
            A `worker_init_fn` or a `timeout` starts them in any case.
        progress: show a line on a terminal: samples and bytes a second, cache hits, stalls.
        options: everything else that torch's `DataLoader` takes.

    """

    def __init__(
        self,
        dataset: ElasticDataset | str | os.PathLike[str],
        batch_size: int | None = None,
        num_workers: int = 0,
        *,
        progress: bool = False,
        **options: Any,
    ) -> None:
        if not isinstance(dataset, (ElasticDataset, str, os.PathLike)):
            raise ConfigError(
                f"{type(dataset).__name__} is no dataset of this loader",
                hint="give a StreamingDataset, a Mixture or a URI; others go into torch's own DataLoader",
            )
        if not isinstance(dataset, ElasticDataset):
            given = {name: options.pop(name) for name in _OF_DATASET & options.keys()}
            dataset = StreamingDataset(os.fspath(dataset), **given)
        if not options.get("in_order", True):
            raise ConfigError(
                "in_order=False: batches would come in another order from pass to pass, and a state could not say which"
                " were delivered",
                hint="leave it out",
            )
        self._last: _Delivery | None = None  # of the pass that began last
        self._progress = progress
        super().__init__(dataset, batch_size=_batch_size(batch_size, dataset), num_workers=num_workers, **options)
        if dataset.tensors and self.collate_fn is torch.utils.data.default_collate:
            self.collate_fn = collate_tensors

    @property
    def _streaming(self) -> ElasticDataset:
        assert isinstance(self.dataset, ElasticDataset)
        return self.dataset

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass; see `StreamingDataset.set_epoch`."""
        self._streaming.set_epoch(epoch)

    @property
    def epoch(self) -> int:
        """The epoch of the next pass: where a training that goes on from a loaded state begins its loop."""
        return self._streaming.next_start()[0]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        dataset = self._streaming
        self._check_size()
        assert self.batch_size is not None
        self._last = delivery = _Delivery(*dataset.begin())
        with dataset.under(Terms(delivery.epoch, delivery.start, self.batch_size, dataset.skips)):
            batches = self._here() or self._counted(self._by_torch())
        if dataset.skips and dataset.in_step:
            batches = in_step(batches, partial(self._stand_in, delivery.epoch))
        return self._deliver(batches, delivery)

    def _by_torch(self) -> Iterator[Any]:
        """Batches that are counted, of which what is left out is taken: nobody else sees that this is done."""
        collate = self.collate_fn
        if self._streaming.skips or self.num_workers:
            self.collate_fn = Collate(collate, self._streaming.meters)
        try:
            return super().__iter__()
        finally:
            self.collate_fn = collate

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        looked = 0.0
        for batch in batches:
            if isinstance(batch, Counted):
                if self.num_workers:
                    self._streaming.count(batch.done)
                    if time.monotonic() - looked > _LOOK_S:  # what fetches for workers goes with the last of them
                        self._streaming.stats()
                        looked = time.monotonic()
                batch = batch.batch
            yield batch

    def _deliver(self, batches: Iterator[Any], delivery: _Delivery) -> Iterator[Any]:
        with self._line(delivery) as line:
            try:
                for batch in batches:
                    delivery.batches += 1
                    line.update(delivery.batches)
                    if batch is not HOLE:
                        yield batch
            except Exception as error:
                if self.num_workers:
                    # torch's frames hold its iterator in a cycle: collected as such it waits 5 s for each worker
                    traceback.clear_frames(error.__traceback__)
                    batches = iter(())
                raise

    def _stand_in(self, epoch: int) -> Any:
        """The first batch of the epoch that can be built: it was delivered before the state that the pass began at."""
        assert self.batch_size is not None
        for samples in self._streaming.batches_from_start(epoch, self.batch_size):
            if found := list(without_holes(samples)):
                return self.collate_fn(found)
        raise SampleError("no sample of this epoch can be built", hint='on_error="raise" says why')

    def _line(self, delivery: _Delivery) -> ProgressLine:
        assert self.batch_size is not None
        left = len(self._streaming) - delivery.start // self._streaming.world_size
        return ProgressLine(left, self._streaming.stats, self.batch_size, shown=self._progress)

    def _here(self) -> Iterator[Any] | None:
        """Batches built by this process without torch's help; None where workers have something to do.

        Bytes through the pipe of a worker come at 5,000 samples of 100 KB a second, out of the cache's map at 30,000.
        """
        dataset = self._streaming
        if not isinstance(dataset, StreamingDataset) or dataset.decodes or self.pin_memory or dataset.skips:
            return None
        if self.collate_fn not in (torch.utils.data.default_collate, collate_tensors):
            return None  # may be dear itself
        if self.num_workers and (self.worker_init_fn is not None or self.timeout):
            return None  # of workers: whoever says what they do wants them
        assert self.batch_size is not None
        batches = dataset._batches(self.batch_size, drop_last=self.drop_last)
        return self._collated(iter(dataset)) if batches is None and self.num_workers else batches

    def _collated(self, samples: Iterator[Any]) -> Iterator[Any]:
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _check_size(self) -> None:
        samples = len(self._streaming)
        if self.drop_last and self.batch_size is not None and samples < self.batch_size:
            raise ConfigError(
                f"this rank has {samples} samples, and batches of {self.batch_size} with drop_last=True: there is none",
                hint="take a smaller batch, or drop_last=False",
            )

    def stats(self) -> LoaderStats:
        """What was read so far, by this process and by workers; see `LoaderStats`."""
        return self._streaming.stats()

    def state_dict(self) -> dict[str, Any]:
        """Where this loader stands: a small dict of numbers and texts, for a checkpoint."""
        last = self._last
        if last is None or self._streaming.is_asked_for_another(last.epoch):
            return self._streaming.state_at(*self._streaming.next_start(), 0)
        assert self.batch_size is not None
        return self._streaming.state_at(last.epoch, last.start, last.batches * self.batch_size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: the next pass begins behind the batches that were delivered when it was saved."""
        self._streaming.load_state_dict(state)
        self._last = None


def _batch_size(given: int | None, dataset: ElasticDataset) -> int:
    """Raises `ConfigError` for none, and for two that differ."""
    size = checked_whole("batch_size", given if given is not None else dataset.batch_size or 1, 1)
    if dataset.batch_size not in (None, size):
        raise ConfigError(
            f"batch_size={size}, but the dataset was made with batch_size={dataset.batch_size}",
            hint="leave it out of one of them",
        )
    return size
