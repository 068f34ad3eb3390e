"""The goals as bars: how far each figure is from its goal."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from .goal import Goal

mpl.use("Agg")

from matplotlib import pyplot as plt  # after the backend is chosen: there may be no display


def plot(goals: list[Goal], path: Path) -> None:
    """Each figure as a share of its goal (of a limit: the limit as a share of the figure); 1 and more is met."""
    shares = [_share(goal) for goal in goals][::-1]
    figure, panel = plt.subplots(figsize=(9, 1 + 0.35 * len(goals)), layout="constrained")
    colours = ["tab:blue" if share >= 1 else "tab:red" for share in shares]
    panel.barh([goal.name for goal in goals][::-1], [min(share, 3.0) for share in shares], color=colours)
    panel.axvline(1.0, color="0.3", linewidth=1)
    panel.set_xlabel("figure / goal (bars end at 3)")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _share(goal: Goal) -> float:
    if goal.at_least:
        return goal.value / goal.goal
    return goal.goal / goal.value if goal.value else 3.0
