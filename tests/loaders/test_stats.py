"""What `stats()` says of a pass: where its bytes came from, what was in the cache, how long the reader waited."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from holdfast import DataLoader, PrometheusStats, StreamingDataset
from support.fetchers import wait_until_gone
from support.mirror_server import MirrorServer, Reply

Serve = Callable[..., MirrorServer]


def test_a_cold_pass_and_a_warm_one(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text

    def late(path: str, reply: Reply) -> Reply:
        if path.startswith(("data/", "manifest/")):
            time.sleep(0.1)  # so that the reader has to wait, however busy the machine is
        return reply

    server = serve(published.folder, late)
    cold = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path)
    assert dataclasses.asdict(cold.stats()) == dataclasses.asdict(type(cold.stats())()), "nothing was read yet"
    assert len(list(cold)) == 300
    found = cold.stats()
    assert found.samples == 300
    assert found.samples_per_s == pytest.approx(300 / found.seconds)
    assert found.cached_bytes == 0
    assert found.missed_bytes >= cold.head.bytes
    assert found.verified_bytes >= found.missed_bytes
    assert found.refetched_bytes == 0
    assert 0 < found.stalled_s <= found.seconds
    assert sum(source.bytes for source in found.sources) == found.verified_bytes
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.samples = 1  # type: ignore[misc]
    list(cold)
    assert cold.stats().samples == 600
    assert cold.stats().missed_bytes == found.missed_bytes, "a second pass misses nothing"
    cold.close()

    warm = StreamingDataset(published.uri, sources=[server.url], cache=tmp_path)
    list(warm)
    again = warm.stats()
    assert (again.hit_rate, again.missed_bytes, again.stalled_s) == (1.0, 0, 0.0)
    assert again.cached_bytes >= warm.head.bytes
    assert sum(source.bytes for source in again.sources) == 0
    warm.close()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_our_loader_says_what_its_workers_read(images: Any, serve: Serve, tmp_path: Path, context: str) -> None:
    _, published = images
    url = serve(published.folder).url
    for cold in (True, False):
        loader = DataLoader(
            published.uri, batch_size=50, num_workers=2, sources=[url], cache=tmp_path, collate_fn=len,
            multiprocessing_context=context,
        )  # fmt: skip
        batches = iter(loader)
        half = sum(islice(batches, 20))
        loader.stats()  # a fetcher of a test goes at once
        assert half + sum(batches) == 2000
        found, size = loader.stats(), loader.dataset.head.bytes
        assert (found.samples, found.skipped) == (2000, 0)
        assert found.cached_bytes + found.missed_bytes >= 0.9 * size
        assert (found.missed_bytes >= 0.9 * size) == cold, "what one worker missed the other may find there"
        assert (found.hit_rate < 0.9) == cold
        assert (found.verified_bytes > size // 10) == cold, "as of the last look at what fetches for them"
        assert sum(source.bytes for source in found.sources) >= found.verified_bytes
        said = re.search(
            r'holdfast_loader_bytes_total{name="default",what="verified"} (\S+)', PrometheusStats(loader).text()
        )
        assert said is not None
        assert float(said[1]) == found.verified_bytes
        loader.dataset.close()
        wait_until_gone(tmp_path)


def test_what_a_liar_sent_is_refetched(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text

    def lie(path: str, reply: Reply) -> Reply:
        reply.body = bytes(len(reply.body)) if path.startswith("data/") else reply.body
        return reply

    urls = [serve(published.folder, lie).url, serve(published.folder).url]
    dataset = StreamingDataset(published.uri, sources=urls, cache=tmp_path)
    assert len(list(dataset)) == 300
    found = dataset.stats()
    dataset.close()
    assert found.sources[0].wrong > 0
    assert found.refetched_bytes > 0
    assert found.sources[1].wrong == 0
