"""`PrometheusStats`: what a dataset has read, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from .stats import LoaderStats


class HasStats(Protocol):
    """A dataset of this package, or its loader."""

    def stats(self) -> LoaderStats:
        """What this process has read so far."""


class PrometheusStats(Collector):
    """A collector: `prometheus_client.REGISTRY.register(PrometheusStats(dataset))`, or `text()` for a file or a page.

    Or of a loader. As `stats()` says: of this process and its workers, but for what a fetcher fetched, which is for all
    who share it, and each of them says it; take it from one. Several datasets of one process need different `name`s.
    """

    def __init__(self, dataset: HasStats, name: str = "default") -> None:
        self._dataset, self._name = dataset, name

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: the registry would call `collect` for it."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics, as of now."""
        stats = self._dataset.stats()
        samples = CounterMetricFamily("holdfast_loader_samples", "Samples, built or skipped.", labels=["name", "what"])
        samples.add_metric([self._name, "built"], stats.samples)
        samples.add_metric([self._name, "skipped"], stats.skipped)
        yield samples
        sizes = CounterMetricFamily(
            "holdfast_loader_bytes",
            "Bytes: verified, refetched and hedged ones from sources (by a fetcher: for all who share it), needed ones "
            "of this process that were cached or missed.",
            labels=["name", "what"],
        )
        for what in ("verified", "refetched", "hedged", "cached", "missed"):
            sizes.add_metric([self._name, what], getattr(stats, f"{what}_bytes"))
        yield sizes
        stalled = CounterMetricFamily("holdfast_loader_stalled_seconds", "Waited for bytes.", labels=["name"])
        stalled.add_metric([self._name], stats.stalled_s)
        yield stalled
        requests, received, wrong = (
            CounterMetricFamily(f"holdfast_loader_source_{what}", text, labels=["name", "source"])
            for what, text in (
                ("requests", "Requests to a source, by a fetcher: for all who share it."),
                ("bytes", "Bytes of its answers, to a fetcher: for all who share it."),
                ("wrong", "Answers of a source that were not what was asked for."),
            )
        )
        for source in sorted({source.name for source in stats.sources}):  # datasets of a mixture may share one
            same = [each for each in stats.sources if each.name == source]
            requests.add_metric([self._name, source], sum(each.requests for each in same))
            received.add_metric([self._name, source], sum(each.bytes for each in same))
            wrong.add_metric([self._name, source], sum(each.wrong for each in same))
        yield from (requests, received, wrong)

    def text(self) -> str:
        """In Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry).decode()
