"""The same figures as bars."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from .measure import Series

mpl.use("Agg")

from matplotlib import pyplot as plt  # after the backend is chosen: there may be no display


def plot(rows: list[Series], path: Path) -> None:
    """Megabytes a second of each row, a panel a section, least and greatest as whiskers."""
    sections = list(dict.fromkeys(series.section for series in rows))
    counts = [sum(series.section == section for series in rows) for section in sections]
    figure, panels = plt.subplots(
        len(sections), 1, figsize=(9, 1 + 0.4 * sum(counts)), height_ratios=counts, squeeze=False, layout="constrained"
    )
    for section, panel in zip(sections, panels[:, 0], strict=True):
        part = [series for series in rows if series.section == section][::-1]
        rates = [series.mb_s for series in part]
        low = [series.mb_s - series.bytes / max(series.seconds) / 1e6 for series in part]
        high = [series.bytes / min(series.seconds) / 1e6 - series.mb_s for series in part]
        colours = ["0.7" if series.name.startswith(("floor", "curl", "read")) else "tab:blue" for series in part]
        panel.barh([series.name for series in part], rates, xerr=[low, high], color=colours, capsize=2)
        panel.set_title(section, loc="left", fontsize=10)
        panel.set_xlabel("MB/s")
    figure.savefig(path, dpi=120)
    plt.close(figure)
