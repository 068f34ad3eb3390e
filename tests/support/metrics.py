"""What a peer says at /metrics, as numbers; and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from .running_node import RunningNode


def metrics(node: RunningNode) -> dict[str, float]:
    """Every sample: `name` or `name{label,label}` → value."""
    answer = node.get("/metrics")
    assert answer.status == 200, answer.body
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(sample.labels[name] for name in sorted(sample.labels))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def wait_for(node: RunningNode, holds: Callable[[dict[str, float]], bool], timeout_s: float = 20) -> dict[str, float]:
    """The metrics, once they hold."""
    limit = time.monotonic() + timeout_s
    while not holds(found := metrics(node)):
        assert time.monotonic() < limit, found
        time.sleep(0.02)
    return found
