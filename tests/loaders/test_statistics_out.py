"""Statistics for people and programs: a line on a terminal, Prometheus, TensorBoard."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from holdfast import DataLoader, Mixture, PrometheusStats, StreamingDataset, write_scalars
from holdfast.loaders.progress_line import Moment, ProgressLine, words
from holdfast.loaders.stats import LoaderStats, total
from holdfast.storage.fetch.scoreboard import SourceStats
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]


def source(name: str, size: int) -> SourceStats:
    return SourceStats(name, f"https://{name}.example", 3, size, 1, {}, "ok")


BUSY = LoaderStats(
    sources=(source("near", 9_000_000), source("far", 1_000_000)),
    verified_bytes=9_500_000, refetched_bytes=500_000, hedged_bytes=10, cached_bytes=30_000_000,
    missed_bytes=10_000_000, samples=1200, stalled_s=0.5, seconds=4.0, skipped=2,
)  # fmt: skip


def test_the_line_says_what_happened_between_two_moments() -> None:
    line = words(Moment(10.0, 0, LoaderStats()), Moment(12.0, 1000, BUSY), 5000)
    assert line == (
        "1,000 of 5,000 samples · 500/s · near 4.5 MB/s · far 0.5 MB/s · 75% cached · 25% stalled · 2 skipped"
    )
    later = Moment(14.0, 1600, BUSY)
    assert words(Moment(12.0, 1000, BUSY), later, 5000) == "1,600 of 5,000 samples · 300/s · 2 skipped"
    many = LoaderStats(sources=tuple(source(f"s{at}", 2_000_000 - at) for at in range(9)))
    assert words(Moment(0, 0, LoaderStats()), Moment(1, 0, many), 1).endswith("s3 2.0 MB/s · 5 more 10.0 MB/s")


def shown(terminal: bool, times: list[float], batches: list[int]) -> str:
    out, clock = io.StringIO(), iter(times)
    console = Console(file=out, force_terminal=terminal, width=200)
    with ProgressLine(100, lambda: BUSY, 4, console=console, clock=lambda: next(clock)) as line:
        for count in batches:
            line.update(count)
    return out.getvalue()


def test_the_line_is_drawn_twice_a_second_and_on_a_terminal_only() -> None:
    text = shown(True, [0.0, 0.0, 0.1, 0.4, 0.6, 1.2], [1, 2, 3, 4, 30])
    assert list(dict.fromkeys(re.findall(r"(\d+) of 100 samples", text))) == ["4", "16", "100"]
    assert shown(False, [], [1, 2, 3]) == ""


def test_a_loader_with_progress_gives_the_same_batches(
    text: Any, serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, published = text
    url = serve(published.folder).url
    make = lambda **given: DataLoader(published.uri, 8, sources=[url], cache=tmp_path, collate_fn=list, **given)
    plain = [[sample["__index__"] for sample in batch] for batch in make()]
    assert [[sample["__index__"] for sample in batch] for batch in make(progress=True)] == plain
    assert capsys.readouterr().err == "", "no terminal, no line"
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    loader = make(progress=True, num_workers=2)
    assert [[sample["__index__"] for sample in batch] for batch in loader] == plain
    assert "of 300 samples" in capsys.readouterr().err


def test_a_resumed_loader_counts_what_is_left(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    loader = DataLoader(published.uri, 10, sources=[serve(published.folder).url], cache=tmp_path, collate_fn=list)
    batches = iter(loader)
    for _ in range(7):
        next(batches)
    loader.load_state_dict(loader.state_dict())
    again = iter(loader)
    next(again)
    assert loader._last is not None
    assert loader._line(loader._last)._total == 230


def samples(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, sample.labels.get("what") or sample.labels.get("source") or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_every_number(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path)
    collector = PrometheusStats(dataset, "train")
    assert samples(collector.text())["holdfast_loader_samples_total", "built"] == 0, "before anything was read"
    list(dataset)
    stats, found = dataset.stats(), samples(collector.text())
    assert found["holdfast_loader_samples_total", "built"] == 300
    for what in ("verified", "refetched", "hedged", "cached", "missed"):
        assert found["holdfast_loader_bytes_total", what] == getattr(stats, f"{what}_bytes")
    assert found["holdfast_loader_source_bytes_total", stats.sources[0].name] == stats.sources[0].bytes
    assert found["holdfast_loader_stalled_seconds_total", ""] == pytest.approx(stats.stalled_s)
    registry = CollectorRegistry()
    registry.register(collector)
    assert registry.get_sample_value("holdfast_loader_samples_total", {"name": "train", "what": "skipped"}) == 0
    dataset.close()


def test_datasets_of_a_mixture_are_counted_together(text: Any, serve: Serve, tmp_path: Path) -> None:
    _, published = text
    url = serve(published.folder).url
    parts = [StreamingDataset(published.uri, sources=[url], cache=tmp_path, seed=seed) for seed in (1, 2)]
    mixture = Mixture(parts, (2, 1), samples=90)
    list(mixture)
    stats = mixture.stats()
    assert stats.samples == sum(part.stats().samples for part in parts) == 90
    assert len(stats.sources) == 2
    found = samples(PrometheusStats(mixture).text())
    assert found["holdfast_loader_source_bytes_total", stats.sources[0].name] == sum(s.bytes for s in stats.sources)
    assert total([]) == LoaderStats()
    mixture.close()


def test_scalars_of_a_step() -> None:
    class Writer:
        def __init__(self) -> None:
            self.seen: dict[str, tuple[float, int | None]] = {}

        def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None) -> None:
            assert tag not in self.seen
            self.seen[tag] = (scalar_value, global_step)

    writer = Writer()
    write_scalars(writer, BUSY, 7)
    assert {step for _, step in writer.seen.values()} == {7}
    values = {tag: value for tag, (value, _) in writer.seen.items()}
    assert values["holdfast/samples_per_s"] == 300
    assert values["holdfast/hit_rate"] == 0.75
    assert values["holdfast/stalled_share"] == 0.125
    assert values["holdfast/source/near_bytes"] == 9_000_000
    assert values["holdfast/skipped"] == 2
    write_scalars(Writer(), LoaderStats(), 0)
