"""What the demo shows: bars while it works, tables at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..configs.sizes import format_size
from ..pipeline.result import PublishResult
from .report import Claim, Outcome, phases

Update = Callable[[int, int], None]


class Screen:
    """The console; bars only where it is a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def say(self, line: str) -> None:
        """One line."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[Update]:
        """A bar of bytes."""
        self.say(f"· {title} …")
        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total or None)

    def results(
        self, published: PublishResult, outcomes: dict[str, Outcome], claims: list[Claim], output: Path
    ) -> None:
        """The tables, and where the report is."""
        for label, outcome in outcomes.items():
            self.console.print(_peer_table(label, outcome))
        rough = outcomes["disturbed"]
        self.console.print(_event_table(rough))
        for label, outcome in outcomes.items():
            self.say(
                f"{label}: digest of all batches {outcome.run.digest},"
                f" longest stall {outcome.run.longest_stall_ms:.0f} ms"
            )
        for claim in claims:
            self.say(f"{'held ' if claim.held else 'BROKE'}  {claim.what}: {claim.detail}")
        self.say(f"{output / 'report.json'}, {output / 'throughput.png'}")


@contextmanager
def bar(screen: Screen, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of steps."""
    screen.say(f"· {title} …")
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen.console, transient=True, disable=not screen.console.is_terminal) as bars:
        task = bars.add_task(title, total=total)
        yield lambda done: bars.update(task, completed=done)


def _peer_table(label: str, outcome: Outcome) -> Table:
    table = Table(title=f"peers, {label}")
    for column in ("peer", "requests", "bytes", "wrong answers", "verdicts", "state"):
        table.add_column(column, justify="left" if column in ("peer", "verdicts", "state") else "right")
    for peer in outcome.peers:
        verdicts = ", ".join(f"{word} {count}" for word, count in sorted(peer.verdicts.items()))
        table.add_row(
            peer.name, str(peer.requests), format_size(peer.bytes), str(peer.wrong), verdicts, str(peer.state)
        )
    return table


def _event_table(outcome: Outcome) -> Table:
    table = Table(title="throughput around each event (disturbed run)")
    for column in ("event", "step", "before", "next 2 s", "until the next event", "bytes after"):
        table.add_column(column, justify="left" if column == "event" else "right")
    for phase in phases(outcome):
        rates = [f"{phase[key] / 1e3:,.0f} kB/s" for key in ("before_bytes_s", "during_bytes_s", "after_bytes_s")]
        table.add_row(phase["event"], str(phase["step"]), *rates, format_size(phase["bytes_after"]))
    return table
