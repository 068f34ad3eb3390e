"""`Access`: what every surface over a dataset shares: where it is, the cache, decoding, and what a process has open."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

from ..configs.roster import Roster
from ..configs.settings import Settings, cache_folder
from ..storage.errors import ConfigError, HoldfastError
from ..storage.fetch.engine import FetchEngine
from ..storage.fetch.evidence import Evidence
from ..storage.manifest import Head
from ..storage.session import SourcesArgument, choose_sources, locate, user_policy
from ..storage.sources.netguard import NetGuard
from ..storage.uri import DatasetUri
from .arguments import checked_flag, checked_optional, checked_seconds, checked_texts, checked_whole
from .batches import stream_batches
from .columns import checked_columns
from .decode import Decode, make_decoder
from .errors import NOT_THE_SAMPLES, SampleError
from .fetcher.client import FetcherClient
from .fetcher.shared import SharedFetching
from .fetcher.terms import Terms
from .fetcher.user_terms import terms_of
from .fetcher.wire import NoFetcherError
from .fetching import Fetching, OwnFetching, Report, together
from .readers.reader import Members, Sample
from .runtime import CacheOptions, Runtime
from .skip import HOLE, OnError, Skipper, checked_on_error
from .stats import LoaderStats, Meter
from .stream import stream
from .view import View
from .worker_end import end_in_time

_KEEP_S = 10.0
LOG = logging.getLogger("holdfast.loader")


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
        fetcher: bool | None = None,
        on_error: OnError = "raise",
        columns: Sequence[str] | None = None,
        decoded_cache: bool = False,
    ) -> None:
        if not isinstance(uri, str):
            raise ConfigError(f"{uri!r} is no URI of a dataset", hint='give a text, such as "ipfs://bafy…"')
        DatasetUri.read(uri)
        self.partition, self.seq_len, self.skips = partition, seq_len, checked_on_error(on_error)
        checked_optional("seq_len", seq_len, 1)
        self._columns, self._keeps = checked_columns(columns), checked_flag("decoded_cache", decoded_cache)
        if not isinstance(sources, (str, os.PathLike, Roster, type(None))):
            checked_texts("sources", sources, "https://mirror.example/corpus")
        self._sources = sources
        self._guard = NetGuard.parse(checked_texts("allow_net", allow_net, "10.1.0.0/16"))
        choose_sources(sources, redirects=self._guard)  # a bad roster is the user's mistake: said here, not in a worker
        settings = Settings.load(os.environ)
        folder = Path(cache) if cache is not None else cache_folder(os.environ) / "loader"
        self._linger_s = settings.cache.fetcher_linger
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"cache={str(folder)!r} is no folder", hint="name one, or one that can be made")
        budget = settings.cache.max_bytes if cache_bytes is None else checked_whole("cache_bytes", cache_bytes, 0)
        self._prefetch_bytes = checked_whole("prefetch_bytes", prefetch_bytes, 0)
        distrust = checked_flag("reverify", reverify)
        self._cache = CacheOptions(folder, budget, secrets.randbits(63), distrust, max(prefetch_bytes, 1 << 20))
        self._decoder: Callable[[Sample], Any] | None = make_decoder(decode)
        self.members: Members = decode if decode in ("memoryview", "uint8") else "bytes"
        self._policy, self._fetcher = user_policy(checked_seconds("deadline_s", deadline_s)), fetcher
        self._runtime: Runtime | None = None
        self._view: View | None = None
        self._fetched = Report((), 0, 0)  # by a fetcher of our workers, as of the last look
        self.uri = locate(uri, sources, LOG.warning)  # a name: once, before there are workers, who must agree on a root

    def runtime(self) -> Runtime:
        """Engine, cache and open shards of this process."""
        if self._runtime is None or self._runtime.pid != os.getpid():
            # after a fork the parent's threads and sockets are not ours: leave them, make our own
            if get_worker_info() is not None:
                end_in_time()
                gc.freeze()  # a full collection would copy the parent's pages into each worker: 46 MB, for torch alone
            self._runtime = Runtime(self.uri.root, self._fetching(), self._cache).open()
            weakref.finalize(self, self._runtime.close)  # a dataset that is dropped ends its threads
        return self._runtime

    def _terms(self) -> Terms:
        return terms_of(self._sources, self._guard, self._policy, os.environ)

    def _fetching(self) -> Fetching:
        """The fetcher of the cache folder where it is shared, or is there anyway; else an engine of our own."""
        given, guard, policy, cache = self._sources, self._guard, self._policy, self._cache

        def make_own() -> Fetching:  # without `self`, which is to be dropped while the runtime lives
            sources, evidence = choose_sources(given, redirects=guard), Evidence(cache.folder / "evidence")
            return OwnFetching(FetchEngine(sources, policy=policy, evidence=evidence).start(), cache.lineage)

        if self._fetcher is not False:
            client = FetcherClient(self._cache.folder, self._terms(), self._linger_s)
            if client.connect(start=self._fetcher or shares_machine()):
                return SharedFetching(client, make_own)
        return make_own()

    def view(self) -> View:
        """The samples, by number."""
        runtime = self.runtime()
        if self._view is None or self._view.runtime is not runtime:
            worker = get_worker_info()
            self._view = View(
                runtime, self.partition, self.seq_len, self._columns, members=self.members, keeps=self._keeps,
                sharers=worker.num_workers if worker else 1,
            )  # fmt: skip
        return self._view

    def samples(self, indices: Iterator[npt.NDArray[np.int64]], *, counted: bool = True) -> Iterator[Any]:
        """Samples by number, in any order, decoded; the bytes of the next ones are asked for meanwhile.

        Those that are not `counted` are in no statistics, and nobody is told of those that are left out.
        """
        view, runtime = self.view(), self.runtime()
        runtime.meter.begin()
        runtime.recheck()
        view.begin()
        meter = runtime.meter if counted else Meter()
        skipper = Skipper(meter, str(self.uri)) if self.skips else None
        skip = skipper.hole if skipper else None
        try:
            for sample in stream(indices, view.locate, view.reader, self._prefetch_bytes, skip):
                made = sample if self._decoder is None or sample is HOLE else self._decode(sample, skip)
                meter.samples += made is not HOLE
                yield made
        finally:
            if skipper and counted:
                skipper.say()

    @property
    def decodes(self) -> bool:
        """Whether samples are decoded, or only cut out of verified bytes."""
        return self._decoder is not None

    def batches(self, batches: Iterator[npt.NDArray[np.int64]]) -> Iterator[dict[str, Any]] | None:
        """Batches of samples by number, as columns; None where samples are decoded, left out, or have no columns."""
        view, runtime = self.view(), self.runtime()
        columns = view.columns()
        if columns is None or self.decodes or self.skips:
            return None
        runtime.meter.begin()
        runtime.recheck()
        view.begin()
        found = stream_batches(batches, columns, self._prefetch_bytes, lambda: view.ahead, view.is_open)
        return self._counted(found)

    def _counted(self, batches: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for batch in batches:
            self.runtime().meter.samples += len(batch["__key__"])
            yield batch

    def _decode(self, sample: Sample, skip: Callable[[SampleError], Any] | None) -> Any:
        assert self._decoder is not None
        index, key = sample["__index__"], sample["__key__"]  # what is called may take them out
        try:
            return self._decoder(sample)
        except NOT_THE_SAMPLES:
            raise
        except Exception as error:
            if isinstance(error, HoldfastError) and not isinstance(error, SampleError):
                raise  # of what it reads: other datasets, a disk
            where = f"{self.view().shard_path(index)}, sample {key!r}"
            if isinstance(error, SampleError):
                failed = SampleError(f"{where}: {error.message}", hint=error.hint)
            else:
                failed = SampleError(f"{where} (index {index}): decode= failed: {error}")
            if skip is None:
                raise failed from error
            return skip(failed)

    @property
    def head(self) -> Head:
        """`dataset.json`."""
        return self.runtime().dataset.head

    def stats(self, *, workers: bool = False) -> LoaderStats:
        """What this process has read so far, and from where; a fetcher says what it fetched for all.

        `workers`: whether workers read for this process, by a fetcher that it has nothing to do with itself.
        """
        runtime = self._runtime if self._runtime is not None and self._runtime.pid == os.getpid() else None
        if runtime is None:
            found = self._report_of_fetcher()
            return Meter().snapshot(found) if found is not None else LoaderStats()
        report = runtime.fetching.report()
        if workers and isinstance(runtime.fetching, OwnFetching):
            found = self._report_of_fetcher()
            if found is not None and found.useful_bytes >= self._fetched.useful_bytes:
                self._fetched = found  # it goes with the last worker
            report = together(report, self._fetched)
        return runtime.meter.snapshot(report)

    def _report_of_fetcher(self) -> Report | None:
        """Workers may have one that we know nothing of."""
        if self._fetcher is False:
            return None
        client = FetcherClient(self._cache.folder, self._terms(), self._linger_s)
        try:
            return client.report() if client.connect(start=False) else None
        except NoFetcherError:  # it died just now
            return None
        finally:
            client.close()

    @property
    def meter(self) -> Meter | None:
        """What this process counts, if it has read anything."""
        return self._runtime.meter if self._runtime is not None and self._runtime.pid == os.getpid() else None

    def close(self) -> None:
        """End this process's threads and connections. The next use opens them again.

        With `decoded_cache`, what can be kept for the next pass is written first: ten seconds at the most.
        """
        try:
            if self._view is not None and self._view.runtime.pid == os.getpid():
                if self._keeps:
                    self._view.keep(_KEEP_S)
                self._view.close()
        finally:
            if self._runtime is not None:
                self._runtime.close()
            self._runtime = self._view = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_runtime": None, "_view": None}


def shares_machine() -> bool:
    """Whether this process is one of several that read the same samples: a worker of several, or a rank."""
    worker = get_worker_info()
    ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    return (worker is not None and worker.num_workers > 1) or ranks > 1
