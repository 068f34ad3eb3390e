"""What a soak says at its end: words, `soak.json` and `soak.png`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from .soak import Result
from .vitals import MIB, Trend


def words(result: Result) -> list[str]:
    """The result, for people."""
    lines = [
        f"{result.seconds / 60:.1f} minutes, seed {result.seed}",
        f"epochs {len(result.epochs)}, {sum(epoch['reader'] == 'new' for epoch in result.epochs)} by new readers",
        f"samples checked {result.total('samples')}",
        ", ".join(f"{what} {result.total(what)}" for what in ("wrong", "missing", "doubled", "misplaced")),
        "disturbed: " + ", ".join(f"{kind} {what} {count}" for (kind, what), count in sorted(result.chaos.items())),
        f"lies told {result.lies}; caught by the trainer {result.caught}",
        "beside it: " + ", ".join(f"{what} {count}" for what, count in sorted(result.housework.items())),
    ]
    for name, (memory, descriptors) in result.trends().items():
        lines.append(f"{name}: memory {_trend(memory, MIB, 'MiB')}; descriptors {_trend(descriptors, 1, '')}")
    lines += result.not_flat() + result.wrong
    lines.append("everything held" if result.ok else "NOT everything held")
    return lines


def _trend(trend: Trend | None, unit: int, name: str) -> str:
    if trend is None:
        return "read too seldom to say"
    return (
        f"median {trend.median / unit:.1f} {name}, slope {trend.slope_per_hour / unit:+.1f}"
        f" ± {trend.error_per_hour / unit:.1f} {name} an hour, gain {trend.gain / unit:+.1f} {name}".replace("  ", " ")
    )


def write(result: Result, folder: Path) -> None:
    """Write `soak.json` and `soak.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "ok": result.ok,
        "seed": result.seed,
        "seconds": result.seconds,
        "samples": result.total("samples"),
        "wrong": result.wrong,
        "disturbed": [[kind, what, count] for (kind, what), count in sorted(result.chaos.items())],
        "beside": dict(result.housework),
        "lies": result.lies,
        "caught": result.caught,
        "trends": {
            name: [None if trend is None else asdict(trend) for trend in trends]
            for name, trends in result.trends().items()
        },
        "epochs": result.epochs,
        "events": result.events,
        "vitals": [asdict(vitals) for vitals in result.vitals],
    }
    (folder / "soak.json").write_text(json.dumps(document, indent=1) + "\n")
    _plot(result, folder / "soak.png")


def _plot(result: Result, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (memory, descriptors) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
    for vitals in result.vitals:
        minutes = [at / 60 for at in vitals.seconds]
        memory.plot(minutes, [value / MIB for value in vitals.memory], label=vitals.name, linewidth=1)
        descriptors.plot(minutes, vitals.descriptors, label=vitals.name, linewidth=1)
    memory.set_ylabel("memory without mapped files, MiB")
    descriptors.set_ylabel("open descriptors")
    descriptors.set_xlabel("minutes")
    for axes in (memory, descriptors):
        axes.set_ylim(bottom=0)
        for at, event in result.events:
            if event.startswith("kill"):
                axes.axvline(at / 60, color="0.85", linewidth=0.4, zorder=0)
    memory.legend(loc="lower right")
    memory.set_title(f"{len(result.epochs)} epochs; a grey line is a kill -9")
    figure.savefig(path, dpi=130)
    plt.close(figure)
