"""The rows as bars: samples a second, a panel a cell."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from .results import Results

mpl.use("Agg")

from matplotlib import pyplot as plt  # after the backend is chosen: there may be no display

_COLUMNS = 4


def draw(results: Results, path: Path) -> None:
    """Medians, least and greatest as whiskers; ours in blue. Loaders without a figure have an empty bar."""
    names = sorted({row.cell for row in results.rows.values()})
    if not names:
        return
    lines = -(-len(names) // _COLUMNS)
    figure, panels = plt.subplots(
        lines, _COLUMNS, figsize=(5 * _COLUMNS, 2.6 * lines), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(names) :]:
        panel.axis("off")
    for name, panel in zip(names, panels.flat[: len(names)], strict=True):
        rows = sorted(results.of_cell(name), key=lambda row: row.rate or 0.0)
        rates = [row.rate or 0.0 for row in rows]
        seconds = [row.figures("epoch_s") if row.rate else [] for row in rows]
        low = [rate - row.samples / max(s) if s else 0 for row, rate, s in zip(rows, rates, seconds, strict=True)]
        high = [row.samples / min(s) - rate if s else 0 for row, rate, s in zip(rows, rates, seconds, strict=True)]
        colours = ["tab:blue" if row.loader.startswith("holdfast") else "0.7" for row in rows]
        panel.barh([row.loader for row in rows], rates, xerr=[low, high], color=colours, capsize=2)
        panel.set_title(name, loc="left", fontsize=9)
        panel.tick_params(labelsize=7)
        panel.set_xlabel("samples/s", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
