"""The goals, held against the rows: ratios of medians, one line each, met or missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import cells
from .cells import Cell
from .results import Results, Row

_PEERS = ("webdataset", "webdataset cache_dir", "mosaic", "litdata", "litdata zstd", "datasets")
_OURS = (cells.OURS, cells.OURS_TORCH)
_RATES = {("images", "cold"): 1.3, ("images", "warm"): 2.0, ("text", "cold"): 1.5, ("text", "warm"): 2.0}
_FIRST_S = 0.3
_MEMMAP_SHARE = 0.5
_BY_HAND = 1.5


@dataclass(frozen=True)
class Verdict:
    """`value` beside `goal`; `detail` says between whom."""

    name: str
    goal: float
    value: float
    at_least: bool = True
    unit: str = ""
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def verdicts(results: Results) -> Iterator[Verdict]:
    """All that can be said from what was measured so far."""
    for corpus in cells.CORPORA:
        for cell in cells.cells(corpus):
            for state in ("cold", "warm"):
                yield from _cell(results, cell, state)
    for goal in results.goals.values():
        yield Verdict(goal["name"], goal["goal"], goal["value"], goal["at_least"], goal["unit"], goal.get("detail", ""))


def _cell(results: Results, cell: Cell, state: str) -> Iterator[Verdict]:
    name = cell.name(state)
    ours, peer = _fastest(results, name, _OURS), _fastest(results, name, _PEERS)
    if ours is None:
        return
    goal = _RATES.get((cell.corpus, state))
    if peer is not None and goal is not None:
        yield _ratio(f"{name}: our best / the best peer", goal, ours, peer)
    plain = _fastest(results, name, (cells.OURS_TORCH,))
    if peer is not None and plain is not None and cell.workers == 2:
        yield _ratio(f"{name}: torch's DataLoader over ours / the best peer", 1.0, plain, peer)
    by_hand = _fastest(results, name, (cells.BY_HAND,))
    if by_hand is not None:
        yield _ratio(f"{name}: our best / by hand", _BY_HAND, ours, by_hand)
    memmap = _fastest(results, name, ("numpy memmap",))
    if memmap is not None:
        yield _ratio(f"{name}: our best / NumPy's memmap", _MEMMAP_SHARE, ours, memmap)
    if state == "cold" and cell.shuffle:
        first = ours.median("first_s") or 0.0
        yield Verdict(f"{name}: time to our first batch", _FIRST_S, first, at_least=False, unit="s", detail=ours.loader)
    yield from _memory(results, name, ours)


def _memory(results: Results, name: str, ours: Row) -> Iterator[Verdict]:
    """Of the surface that was the fastest: not the speed of one and the memory of another."""
    known = ((row.loader, row.median("peak_pss")) for row in _known(results, name, _PEERS))
    peers = {loader: used for loader, used in known if used}  # else its run was ended while memory was watched
    if peers:
        lowest, used = min(peers, key=peers.__getitem__), ours.median("peak_pss") or 0.0
        yield Verdict(
            f"{name}: our peak PSS / the lowest peer's", 1.0, used / peers[lowest], at_least=False,
            detail=f"{ours.loader} {used / 1e6:.0f} MB, {lowest} {peers[lowest] / 1e6:.0f} MB",
        )  # fmt: skip


def _known(results: Results, name: str, loaders: tuple[str, ...]) -> list[Row]:
    found = (results.get(name, loader) for loader in loaders)
    return [row for row in found if row is not None and row.rate is not None]


def _fastest(results: Results, name: str, loaders: tuple[str, ...]) -> Row | None:
    return max(_known(results, name, loaders), key=lambda row: row.rate or 0.0, default=None)


def _ratio(name: str, goal: float, ours: Row, other: Row) -> Verdict:
    assert ours.rate
    assert other.rate
    detail = f"{ours.loader} {ours.rate:,.0f}/s, {other.loader} {other.rate:,.0f}/s"
    return Verdict(name, goal, ours.rate / other.rate, detail=detail)
