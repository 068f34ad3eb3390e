"""`throughput.png`: both runs over time, the events marked."""

from __future__ import annotations

from pathlib import Path

from .meter import Meter


def plot(runs: dict[str, Meter], path: Path) -> None:
    """One curve a run, in MB/s over windows of one second."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    for label, meter in runs.items():
        rates = [meter.rate(at - 0.5, at + 0.5) / 1e6 for at in meter.times_s]
        axes.plot(meter.times_s, rates, label=label, linewidth=1.4)
        for mark in meter.marks:
            axes.axvline(mark.at_s, color="tab:red", linestyle="--", linewidth=0.9)
            axes.annotate(
                mark.label, (mark.at_s, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -4),
                textcoords="offset points", rotation=90, va="top", fontsize=8, color="tab:red",
            )  # fmt: skip
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("received, MB/s")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")
    axes.set_title("Training from three peers: undisturbed, and while they die and lie")
    figure.savefig(path, dpi=130)
    plt.close(figure)
