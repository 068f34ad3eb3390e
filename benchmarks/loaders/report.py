"""`loaders.md` and `loaders.png`, from the results; and the goals on the screen."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from .picture import draw
from .results import PATH, Results, Row
from .verdicts import Verdict, verdicts

_HEAD = "| loader | runs | samples/s | min | max | MB/s | first batch s | CPU s | peak PSS MB | anonymous |"


def write_report(results: Results) -> None:
    """Everything that is known so far."""
    found = list(verdicts(results))
    PATH.with_suffix(".md").write_text("\n".join(_document(results, found)) + "\n")
    draw(results, PATH.with_suffix(".png"))
    _print(found)


def _document(results: Results, found: list[Verdict]) -> list[str]:
    about = ", ".join(f"{name} {value}" for name, value in results.about.items())
    lines = ["# The loader beside its peers", "", f"Measured with: {about}.", ""]
    scales = sorted({row.scale for row in results.rows.values()})
    if scales and scales != [1.0]:
        lines += [f"**A trial: scales {', '.join(map(str, scales))} of the full sizes.**", ""]
    lines += ["## Goals", "", "| what | measured | goal | | between |", "|---|---|---|---|---|"]
    for one in found:
        lines.append(f"| {one.name} | {_figure(one)} | {_sign(one)} | {_word(one)} | {one.detail} |")
    for cell in dict.fromkeys(row.cell for row in results.rows.values()):
        lines += ["", f"## {cell}", "", _HEAD, "|---" * 10 + "|"]
        lines += [_line(row) for row in sorted(results.of_cell(cell), key=lambda row: -(row.rate or 0.0))]
    for title, rows in results.tables.items():
        lines += ["", f"## {title}", "", *_table(rows)]
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return lines + ["| " + " | ".join(str(row.get(name, "–")) for name in columns) + " |" for row in rows]


def _line(row: Row) -> str:
    problems = [run["problem"] for run in row.runs if run["problem"]]
    said = f" ({len(problems)} of {len(row.runs)} runs failed: {problems[0]})".replace("|", "\\|") if problems else ""
    if row.rate is None:
        return f"| {row.loader}{said} | {len(row.good)} | – | – | – | – | – | – | – | – |"
    seconds = row.figures("epoch_s")
    first, cpu, memory, own = (row.median(name) or 0.0 for name in ("first_s", "cpu_s", "peak_pss", "peak_anonymous"))
    rates = [f"{rate:,.0f}" for rate in (row.rate, row.samples / max(seconds), row.samples / min(seconds))]
    megabytes = [f"{count / 1e6:,.0f}" for count in (row.rate * row.bytes / row.samples, memory, own)]
    runs = str(len(row.figures("epoch_s")))
    cells = [row.loader + said, runs, *rates, megabytes[0], f"{first:.2f}", f"{cpu:.1f}", *megabytes[1:]]
    return f"| {' | '.join(cells)} |"


def _print(found: list[Verdict]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("what", "measured", "goal", "", "between"):
        table.add_column(title, justify="right" if title in ("measured", "goal") else "left")
    for one in found:
        table.add_row(one.name, _figure(one), _sign(one), _word(one), one.detail)
    Console(width=190).print(table)
    print(f"{PATH}, {PATH.stem}.md, {PATH.stem}.png")


def _figure(one: Verdict) -> str:
    return f"{one.value:,.2f} {one.unit}".strip()


def _sign(one: Verdict) -> str:
    return f"{'≥' if one.at_least else '≤'} {one.goal:g}"


def _word(one: Verdict) -> str:
    return "met" if one.met else "MISSED"
