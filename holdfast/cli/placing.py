"""What `publish --to`, `pin add --to` and `pin status` share: providers of a roster, and what they promised."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import format_size, parse_duration
from .output import emit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..configs.roster import Provider
    from ..pipeline.place.pieces import PieceKeepers
    from ..pipeline.place.state import Placed
    from ..storage.cid import CID

Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--origin", metavar="URL", help="Where providers may fetch from (a peer run here meanwhile); again for more."
    ),
]
Wait = Annotated[str, typer.Option("--wait", metavar="TIME", help="How long to wait for those who fetch.")]


def roster_of(to: str | None) -> Path | None:
    """`--to` as the path of a roster; None for a URL, and for none."""
    return None if to is None or to.startswith(("http://", "https://")) else Path(to)


@dataclass(frozen=True)
class Keepers:
    """Who of a roster keeps data: pin targets, and Filecoin, if the roster says how it is paid."""

    targets: Sequence[Provider] = ()
    pieces: PieceKeepers | None = None


def read_keepers(roster: Path, wait: str = "1h") -> Keepers:
    """Those of a roster who keep data. Raises `ConfigError`, also for a `--wait` that is no time: before the work."""
    from ..configs.roster import Roster
    from ..pipeline.place.pieces import PieceKeepers
    from ..pipeline.place.place import keepers_of

    parse_duration(wait)
    loaded = Roster.load(roster)
    return Keepers(keepers_of(loaded), PieceKeepers.of(loaded))


def place_with(
    keepers: Keepers, root: CID, name: str, repo: Path, origins: Sequence[str] | None, wait: str
) -> list[Placed]:
    """Have them all keep it; each change of state is a line on a terminal."""
    from ..pipeline.place.place import place
    from ..pipeline.place.placing import PlaceOptions
    from ..storage.blocks.disk import DiskStore

    if not keepers.targets and keepers.pieces is None:
        return []
    options = PlaceOptions(tuple(origins or ()), parse_duration(wait))
    with DiskStore(repo).open(create=False) as store:
        return place(
            store, root, name, keepers.targets, placements_of(repo), pieces=keepers.pieces, options=options,
            on_placed=_say,
        )  # fmt: skip


def show_placed(placed: Sequence[Placed], *, as_json: bool) -> None:
    """One line each; exit 1 unless every one keeps it, as far as that can be known."""
    document = {"pins": [placed_document(one) for one in placed]}
    emit(document, as_json=as_json, words="\n".join(map(placed_line, placed)) or "(none)")
    if any(one.failed or not one.kept for one in placed):
        raise typer.Exit(1)


def list_pins(roster: Path, *, as_json: bool) -> None:
    """What each provider of a roster says that it keeps: they are asked. Exit 1 when one does not answer."""
    from ..configs.errors import HoldfastError
    from ..storage.pins.targets import target_of

    found: list[dict[str, Any]] = []
    words, silent = [], False
    for provider in read_keepers(roster).targets:
        target = target_of(provider, os.environ)
        try:
            pins = target.ls()
        except HoldfastError as error:
            silent = True
            found.append({"provider": provider.name, "error": error.message})
            words.append(f"{provider.name}: {error.message}")
            continue
        finally:
            target.close()
        for pin in pins:
            entry = {"requestid": pin.requestid, "cid": str(pin.cid), "name": pin.name, "status": pin.status.value}
            found.append({"provider": provider.name, **entry})
            words.append(f"{provider.name}: {pin.status.value:8} {pin.cid} {pin.name or '-'}")
    emit({"pins": found}, as_json=as_json, words="\n".join(words) or "(none)")
    if silent:
        raise typer.Exit(1)


def remove_pins(which: str, roster: Path, repo: Path, *, as_json: bool) -> None:
    """Have each provider of a roster keep it no longer, and forget what it promised. Exit 1 when one is silent."""
    from ..configs.errors import HoldfastError
    from ..storage.pins.targets import target_of

    placements, root = placements_of(repo), _root(which)
    removed, problems = [], []
    for provider in read_keepers(roster).targets:
        target = target_of(provider, os.environ)
        try:
            for pin in target.ls(root):
                if root is not None or which in (pin.name, pin.requestid):
                    target.rm(pin.requestid)
                    placements.remove(provider.name, pin.cid.v1())
                    removed.append({"provider": provider.name, "cid": str(pin.cid), "name": pin.name})
        except HoldfastError as error:
            problems.append({"provider": provider.name, "error": error.message})
        finally:
            target.close()
    words = [f"{one['provider']}: no longer kept: {one['cid']} {one['name'] or '-'}" for one in removed]
    words += [f"{one['provider']}: {one['error']}" for one in problems]
    emit({"removed": removed, "problems": problems}, as_json=as_json, words="\n".join(words) or "(none)")
    if problems:
        raise typer.Exit(1)


def show_state(which: str | None, roster: Path | None, repo: Path, *, as_json: bool) -> None:
    """What was noted: row by row for one root or name; how many of each for all."""
    placements = placements_of(repo)
    names = None if roster is None else _names(read_keepers(roster))
    if which is not None:
        root = _root(which)
        rows = placements.of(root) if root else [one for one in placements.of() if which in (one.name, one.requestid)]
        rows = [one for one in rows if names is None or names(one.provider)]
        if not rows:
            raise ConfigError(
                f"nothing is noted of {which!r}", hint="`holdfast pin add URI --to ROSTER` asks providers"
            )
        show_placed(rows, as_json=as_json)
        return
    tally = [one for one in placements.tally() if names is None or names(one.provider)]
    document = {
        "providers": [
            {"provider": one.provider, "state": one.status.value, "roots": one.roots, "proven": one.proven}
            for one in tally
        ]
    }
    words = [f"{one.provider}: {one.roots} {one.status.value}, {one.proven} proven" for one in tally]
    emit(document, as_json=as_json, words="\n".join(words) or "(none)")


def placed_document(one: Placed) -> dict[str, Any]:
    """A provider's state as JSON has it. Times are RFC 3339, null for never."""
    return {
        "provider": one.provider,
        "kind": one.kind,
        "state": one.status.value,
        "cid": str(one.root),
        "name": one.name,
        "message": one.message,
        "transferred": one.done_bytes,
        "promised": _time(one.promised_us),
        "proven": _time(one.proven_us),
        "leaves": one.leaves,
    }


def placed_line(one: Placed) -> str:
    """The same in words."""
    far = ""
    if one.done_bytes:
        total = f" of {format_size(one.total_bytes)}" if one.total_bytes else ""
        far = f", {format_size(one.done_bytes)}{total} {'sent' if one.kind in ('kubo', 'filecoin') else 'fetched'}"
    proof = f", {one.leaves} leaves read back" if one.counts else ""
    return f"{one.provider} ({one.kind}): {one.status.value}{far}{proof}{f': {one.message}' if one.message else ''}"


def placements_of(repo: Path) -> Any:
    """What was noted of providers."""
    from ..pipeline.place.state import Placements

    return Placements(repo / "placements.sqlite")


def _names(keepers: Keepers) -> Callable[[str], bool]:
    """Whether a row is of one of them; those that were chosen out of a registry are named by their numbers there."""
    known = {one.name for one in keepers.targets}
    if keepers.pieces is None:
        return known.__contains__
    known |= {one.name for one in keepers.pieces.entries}
    return lambda name: name in known or name.startswith("filecoin/")


def _root(text: str) -> CID | None:
    from ..storage.cid import CID
    from ..storage.errors import FormatError

    try:
        return CID.parse(text.removeprefix("ipfs://")).v1()
    except FormatError:
        return None


def _say(one: Placed) -> None:
    if sys.stderr.isatty():
        print(f"  {placed_line(one)}", file=sys.stderr, flush=True)  # noqa: T201


def _time(microseconds: int) -> str | None:
    if not microseconds:
        return None
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
