"""The table that a person reads."""

from __future__ import annotations

import statistics

from rich.console import Console
from rich.table import Table

from .measure import Series


def print_table(rows: list[Series]) -> None:
    """One line a series; `ratio` is the rate over that of the row it names as its floor."""
    table = Table(box=None, pad_edge=False)
    for title in ("section", "what", "MB/s", "min", "max", "samples/s", "first batch", "ratio"):
        table.add_column(title, justify="left" if title in ("section", "what", "ratio") else "right")
    known = {(series.section, series.name): series for series in rows}
    section = ""
    for series in rows:
        if section and series.section != section:
            table.add_section()
        floor = known.get((series.section, series.floor))
        table.add_row(
            series.section if series.section != section else "",
            series.name,
            f"{series.mb_s:,.0f}",
            f"{series.bytes / max(series.seconds) / 1e6:,.0f}",
            f"{series.bytes / min(series.seconds) / 1e6:,.0f}",
            f"{series.samples_s:,.0f}" if series.samples else "",
            f"{statistics.median(series.first_s) * 1000:,.0f} ms" if series.first_s else "",
            f"{series.mb_s / floor.mb_s:.2f} of {floor.name.removeprefix('floor: ')}" if floor else "",
        )
        section = series.section
    Console(width=150).print(table)
