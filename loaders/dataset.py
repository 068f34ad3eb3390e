"""`StreamingDataset`: a published dataset in a torch `DataLoader`: verified, in one global order, from many sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..storage.manifest import Head
from ..storage.session import SourcesArgument
from ..storage.uri import DatasetUri
from .access import Access
from .arguments import checked_flag
from .batches import rebatch
from .decode import Decode
from .elastic import ElasticDataset, checked_seed
from .order import Order
from .passage import Passage
from .share import Tail
from .skip import OnError
from .state import Pass
from .stats import LoaderStats, Meter


class StreamingDataset(ElasticDataset):
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
            "memoryview": members of tars are views of the cache's map, not copied. "uint8": they are tensors of bytes,
            as torchvision's decoders take them (text, numbers, JSON and arrays become values); `holdfast.DataLoader`
            copies those of one length straight into one tensor [batch, bytes], and lists others.
        rank, world_size: default to torch.distributed's, if it is initialised when the dataset is made.
        tail: where `world_size` does not divide the samples: "repeat" the first few, so that every rank has as many
            (and none waits for another for ever); "drop" the last few; "exact": some ranks have one more.
        partition: one named part of the dataset.
        seq_len: for token datasets: a sample holds seq_len + 1 tokens.
        prefetch_bytes: how far ahead of the consumer bytes are asked for, per worker.
        deadline_s: seconds without progress on a leaf before `UnavailableError`.
        reverify: hash warm cache files again, stamps or not.
        allow_net: ranges (CIDR) that redirects may lead to although they are not public.
        fetcher: whether one process fetches for all that share the cache folder (docs/architecture.md); None: where
            there are several workers or ranks, or it runs already.
        columns: of parquet and Arrow shards, only these; of parquet, what the others hold is not even fetched.
        decoded_cache: of parquet shards, keep decoded row groups in the cache too: about twice the shards' bytes, and
            later passes map them in place of decoding.
        on_error: "raise" what goes wrong when a sample is built or decoded, or "skip": leave the sample out, count it
            (`stats().skipped`) and warn at the end of the pass. Wrong and unavailable bytes are raised in any case.
            Batches of `holdfast.DataLoader` are shorter then, and in place of one without samples comes another, where
            there are other ranks to keep in step with; another loader fills its batches with later samples.

    Raises:
        ConfigError: wrong input, at once; what only the dataset can tell (a partition or column that it has not, a
            rank that has no sample), when it is read first.
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
        fetcher: bool | None = None,
        on_error: OnError = "raise",
        columns: Sequence[str] | None = None,
        decoded_cache: bool = False,
    ) -> None:
        super().__init__(batch_size=batch_size, rank=rank, world_size=world_size, tail=tail)
        self._access = Access(
            uri, sources=sources, cache=cache, cache_bytes=cache_bytes, decode=decode, partition=partition,
            seq_len=seq_len, prefetch_bytes=prefetch_bytes, deadline_s=deadline_s, reverify=reverify,
            allow_net=allow_net, fetcher=fetcher, on_error=on_error, columns=columns, decoded_cache=decoded_cache,
        )  # fmt: skip
        self.seed, self.shuffle = checked_seed(seed), checked_flag("shuffle", shuffle)

    @property
    def uri(self) -> DatasetUri:
        """What is read."""
        return self._access.uri

    @property
    def tensors(self) -> bool:
        """See `ElasticDataset.tensors`."""
        return self._access.members == "uint8"

    @property
    def skips(self) -> bool:
        """See `ElasticDataset.skips`."""
        return self._access.skips

    def _pass(self) -> Pass:
        return Pass(str(self.uri.root), self._access.partition, self._access.seq_len, self.seed, self.shuffle)

    def _samples(self) -> int:
        return self._access.view().samples

    def _read(self, epoch: int, positions: Iterator[npt.NDArray[np.int64]], *, counted: bool = True) -> Iterator[Any]:
        parameters = self._access.view().parameters
        order = Order(bytes(self.uri.root), self.seed, epoch, parameters, self.shuffle)
        return self._access.samples(map(order.samples_at, positions), counted=counted)

    def _batches(self, batch_size: int, *, drop_last: bool) -> Iterator[dict[str, Any]] | None:
        """A pass in batches, as torch's `default_collate` makes them; None where there is no way but by samples."""
        view = self._access.view()
        if view.columns() is None or self._access.decodes or self.skips:
            return None
        passage = self._begin()
        order = Order(bytes(self.uri.root), self.seed, passage.epoch, view.parameters, self.shuffle)
        parts = map(order.samples_at, self._checked_share(passage).positions(passage.taken))
        found = self._access.batches(rebatch(parts, batch_size, drop_last=drop_last))
        return None if found is None else _taken(found, passage)

    @property
    def decodes(self) -> bool:
        """Whether samples are decoded (`decode=`), or only cut out of verified bytes."""
        return self._access.decodes

    def _drawn(self, draws: Iterator[npt.NDArray[np.int64]], *, counted: bool = True) -> Iterator[Any]:
        """Samples by the number of a draw (int64): draw d is position d mod N of epoch d div N."""
        parameters, root = self._access.view().parameters, bytes(self.uri.root)

        def chosen(part: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            epochs, positions = np.divmod(part, parameters.samples)
            out = np.empty_like(part)
            for epoch in np.unique(epochs).tolist():
                here = epochs == epoch
                out[here] = Order(root, self.seed, epoch, parameters, self.shuffle).samples_at(positions[here])
            return out

        return self._access.samples(map(chosen, draws), counted=counted)

    @property
    def head(self) -> Head:
        """`dataset.json`: counts, columns, partitions."""
        return self._access.head

    def _stats(self, *, workers: bool) -> LoaderStats:
        return self._access.stats(workers=workers)

    def meters(self) -> list[Meter]:
        """See `ElasticDataset.meters`."""
        meter = self._access.meter
        return [] if meter is None else [meter]

    def close(self) -> None:
        """End this process's threads and connections. The next iteration opens them again.

        With `decoded_cache=True`, decoded rows that are not yet kept are written first: ten seconds at the most.
        """
        self._access.close()


def _taken(batches: Iterator[dict[str, Any]], passage: Passage) -> Iterator[dict[str, Any]]:
    for batch in batches:
        passage.taken += len(batch["__key__"])
        yield batch
