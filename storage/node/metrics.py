"""`GET /metrics`: what this peer does, for Prometheus.

For the holder of the token, and for programs on this machine (loopback, not through a proxy, not from a browser):
what a peer keeps and for how many is its operator's business. Scrapers elsewhere send `Authorization: Bearer TOKEN`.
Every peer has a registry of its own: nothing of this process's other libraries is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..blocks.disk import DiskStore
from ..errors import HoldfastError
from ..pins.pin import Status
from .access import Access
from .crowd import Crowd
from .reads import Reads
from .refusals import LOG


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """Pins by status, and the bytes of the files that the repository owns."""

    pins: Mapping[str, int]
    used_bytes: int

    @classmethod
    def read(cls, store: DiskStore) -> RepositoryState:
        """Ask the database. Raises `StoreError`."""
        rows = store.catalog.rows("SELECT status, COUNT(*) FROM pins GROUP BY status")
        counts = {status.value: 0 for status in Status} | {str(status): int(str(count)) for status, count in rows}
        return cls(counts, store.used_bytes())


class Metrics:
    """The route, and the registry behind it."""

    def __init__(self, store: DiskStore, reads: Reads, crowd: Crowd, access: Access) -> None:
        self._store, self._reads, self._access = store, reads, access
        self._collector = _PeerCollector(crowd)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        return [web.get("/metrics", self._get)]

    async def _get(self, request: web.Request) -> web.Response:
        if refusal := self._access.reading_refusal(request):
            return web.Response(status=401, text=f"{refusal}\n", headers={"Cache-Control": "no-store"})
        try:
            self._collector.repository = await self._reads.run(RepositoryState.read, self._store)
        except HoldfastError as error:  # a full disk is when the other numbers are wanted most
            LOG.error("%s", error.message)
            self._collector.repository = None
        body = generate_latest(self._registry)  # in the event loop, where nothing counts meanwhile
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


class _PeerCollector(Collector):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.repository: RepositoryState | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: the registry would call `collect` for it."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics of this peer, by now."""
        crowd, tally = self._crowd, self._crowd.tally
        requests = CounterMetricFamily(
            "holdfast_requests", "Requests answered, by format and HTTP status.", labels=["format", "status"]
        )
        for (kind, status), count in sorted(tally.requests.items()):
            requests.add_metric([kind, status], count)
        yield requests
        yield _labelled(
            CounterMetricFamily, "holdfast_sent_bytes", "Bytes of content sent.", "format", tally.sent_bytes
        )
        yield _labelled(
            CounterMetricFamily, "holdfast_refused", "Clients refused or cut off, by reason.", "reason", tally.refused
        )
        yield GaugeMetricFamily("holdfast_open_connections", "Connections open now.", crowd.connections)
        yield GaugeMetricFamily("holdfast_requests_in_flight", "Requests being answered now.", crowd.requests)
        if self.repository is not None:
            yield _labelled(GaugeMetricFamily, "holdfast_pins", "Pins, by status.", "status", self.repository.pins)
            yield GaugeMetricFamily(
                "holdfast_repository_bytes", "Bytes of files that the repository owns.", self.repository.used_bytes
            )


def _labelled(
    family: Callable[..., CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Mapping[str, int],
) -> Metric:
    made = family(name, text, labels=[label])
    for value, count in sorted(values.items()):
        made.add_metric([value], count)
    return made
