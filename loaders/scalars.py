"""`write_scalars`: statistics as scalars of a step, for TensorBoard or whatever has an `add_scalar` like its writer."""

from __future__ import annotations

from typing import Any, Protocol

from .stats import LoaderStats

_COUNTS = ("samples", "skipped", "verified_bytes", "refetched_bytes", "hedged_bytes", "cached_bytes", "missed_bytes")


class ScalarWriter(Protocol):
    """`torch.utils.tensorboard.SummaryWriter`, for one."""

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None) -> Any:
        """Write one number."""


def write_scalars(writer: ScalarWriter, stats: LoaderStats, step: int, prefix: str = "holdfast") -> None:
    """Write what `dataset.stats()` said, totals since its start, as `PREFIX/…`; of sources as `PREFIX/source/…`."""
    values: dict[str, float] = {name: getattr(stats, name) for name in _COUNTS}
    values |= {"samples_per_s": stats.samples_per_s, "hit_rate": stats.hit_rate, "stalled_s": stats.stalled_s}
    values["stalled_share"] = stats.stalled_s / stats.seconds if stats.seconds else 0.0
    for source in stats.sources:  # datasets of a mixture may share one
        tag = f"source/{source.name}_bytes"
        values[tag] = values.get(tag, 0) + source.bytes
    for name, value in values.items():
        writer.add_scalar(f"{prefix}/{name}", value, step)
