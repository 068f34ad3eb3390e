"""For publishers and readers: `name publish|resolve|show|watch|forget`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..configs.errors import ConfigError, HoldfastError
from ..configs.settings import default_roster
from ..configs.sizes import parse_duration
from .key import PassphraseFile, keys_of, read_passphrase
from .options import AsJson, From, Repo, RosterFile, sources
from .output import emit, warn

if TYPE_CHECKING:
    from ..storage.names.advance import Lifetime
    from ..storage.names.name import Name
    from ..storage.names.place import NamePlace
    from ..storage.names.publish import Pointed
    from ..storage.names.record import Record

name = typer.Typer(no_args_is_help=True, help="Names: signed pointers to the newest version of a dataset (IPNS).")

Label = Annotated[str, typer.Argument(metavar="KEY", help="The label of a key, as `key ls` shows it, or its name.")]
Named = Annotated[str, typer.Argument(metavar="NAME", help="k51…, ipns://k51…, or the label of a key of yours.")]
To = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="URL|ROSTER", help="Who is to keep the record: a peer, a router; or all of a roster."),
]
Life = Annotated[str, typer.Option(metavar="TIME", help="How long the record counts.")]
Ttl = Annotated[str, typer.Option(metavar="TIME", help="How long a reader need not ask again.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (publish, resolve, show, log, watch, forget):
        name.command()(command)
    app.add_typer(name, name="name")


def publish(
    label: Label,
    root: Annotated[str, typer.Argument(help="ipfs://CID, or a bare CID.")],
    to: To = None,
    lifetime: Life = "48h",
    ttl: Ttl = "5m",
    first: Annotated[
        bool, typer.Option("--first", help="The key is new: begin, although not all could be asked.")
    ] = False,
    passphrase: PassphraseFile = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Point a name at a root: sign the next record, and give it to everyone named."""
    from ..storage.names.follow import known_names
    from ..storage.names.publish import point

    keys = keys_of(repo)
    key = keys.load(keys.find(label).label, read_passphrase(passphrase))
    found = point(key, _root(root), _places(to), known_names(os.environ), _life(lifetime, ttl), first=first)
    _tell(found, as_json=as_json)


def resolve(
    named: Named, urls: From = None, roster: RosterFile = None, repo: Repo = None, as_json: AsJson = False
) -> None:
    """Say where a name points now: several places are asked, and the newest record that counts is followed."""
    from ..storage.session import locate

    where = locate(f"ipns://{_name(named, repo)}", sources(urls, roster), warn)
    emit({"uri": str(where), "root": str(where.root)}, as_json=as_json, words=str(where))


def show(
    named: Named, urls: From = None, roster: RosterFile = None, repo: Repo = None, as_json: AsJson = False
) -> None:
    """Show the record that is followed, where it was found, and what was wrong elsewhere."""
    from ..storage.names.follow import known_names
    from ..storage.names.places import places_of
    from ..storage.names.resolve import resolve as run

    wanted = _name(named, repo)
    given = sources(urls, roster) or default_roster(os.environ) or []
    found = run(wanted, places_of(given, env=os.environ), known_names(os.environ), time.time_ns())
    document = {**_record(found.record), "places": list(found.places), "warnings": list(found.warnings)}
    words = [f"{key:10} {value}" for key, value in _record(found.record).items() if value is not None]
    words += [f"{'found at':10} {place}" for place in found.places]
    words += [f"{'but':10} {warning}" for warning in found.warnings]
    emit(document, as_json=as_json, words="\n".join(words))


def log(named: Named, urls: From = None, roster: RosterFile = None, repo: Repo = None, as_json: AsJson = False) -> None:
    """List the versions that were followed here, the newest first. With sources, they are asked for the newest."""
    from ..storage.names.follow import known_names
    from ..storage.names.places import places_of
    from ..storage.names.resolve import resolve as run

    wanted, known = _name(named, repo), known_names(os.environ)
    given = sources(urls, roster)
    if given is not None:
        for warning in run(wanted, places_of(given, env=os.environ), known, time.time_ns()).warnings:
            warn(warning)
    versions = known.versions(wanted)
    words = []
    for newer, older in zip([None, *versions], [*versions, None], strict=True):
        if newer is not None and (older.value if older else None) != newer.parent:
            words.append(f"  … its parent, {newer.parent or 'none'}, was not seen here")
        if older is not None:
            words.append(f"{older.sequence:>6}  {_record(older)['signed'] or '-':30}  {older.value}")
    emit({"versions": [_record(one) for one in versions]}, as_json=as_json, words="\n".join(words) or "(none)")


def watch(
    label: Label,
    to: To = None,
    lifetime: Life = "48h",
    ttl: Ttl = "5m",
    passphrase: PassphraseFile = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Sign a name again and again before its record ends, until you stop it. One line for each time."""
    from ..storage.names.follow import known_names
    from ..storage.names.watch import watch as run

    keys = keys_of(repo)
    key = keys.load(keys.find(label).label, read_passphrase(passphrase))

    def on_error(error: HoldfastError, again_s: float) -> None:
        warn(f"{error.message}; again in {again_s:.0f} s")

    run(
        key, _places(to), known_names(os.environ), _life(lifetime, ttl),
        on_signed=lambda found: _tell(found, as_json=as_json), on_error=on_error,
    )  # fmt: skip


def forget(named: Named, repo: Repo = None, as_json: AsJson = False) -> None:
    """Forget which version of a name was seen here, and believe the next valid record, be it older.

    For readers. Whoever has the key forgets what was signed last: ask places that have it before the next publish.
    """
    from ..storage.names.follow import known_names

    wanted = _name(named, repo)
    known_names(os.environ).forget(wanted)
    emit({"name": str(wanted)}, as_json=as_json, words=f"what was seen of {wanted} is forgotten")


def _places(to: list[str] | None) -> Sequence[NamePlace]:
    from ..storage.names.places import places_of

    given: Any = to or default_roster(os.environ)
    if given is None:
        raise ConfigError("nobody to keep the record", hint="give --to URL or --to ROSTER")
    if isinstance(given, Path):
        return places_of(given, env=os.environ, keeping=True)
    found: list[NamePlace] = []
    for item in given:
        found += places_of(item, env=os.environ, keeping=True)
    return found


def _name(text: str, repo: Path | None) -> Name:
    from ..storage.names.name import Name

    bare = text.removeprefix("ipns://").removeprefix("/ipns/").rstrip("/")
    try:
        return Name.parse(bare)
    except ConfigError:
        keys, _ = keys_of(repo).ls()
        for key in keys:
            if key.label == bare:
                return key.name
        raise


def _root(text: str) -> Any:
    from ..storage.uri import DatasetUri

    where = DatasetUri.parse(text)
    if where.path:
        raise ConfigError(f"{text}: a name points at a whole dataset", hint="give its CID, without a path")
    return where.root


def _life(lifetime: str, ttl: str) -> Lifetime:
    from ..storage.names.advance import Lifetime
    from ..storage.names.moment import S

    return Lifetime(int(parse_duration(lifetime) * S), int(parse_duration(ttl) * S))


def _tell(found: Pointed, *, as_json: bool) -> None:
    for warning in found.warnings:
        warn(warning)
    places = [{"place": place, "problem": problem} for place, problem in found.places]
    words = [f"ipns://{found.record.name} → {found.record.value}"]
    words += [f"  {place}: {problem or 'kept'}" for place, problem in found.places]
    emit({**_record(found.record), "places": places}, as_json=as_json, words="\n".join(words))


def _record(found: Record) -> dict[str, Any]:
    from ..storage.names.moment import S, format_moment
    from ..storage.printable import printable

    signed = found.published_ns
    return {
        "name": str(found.name),
        "value": printable(found.value, 2000),
        "sequence": found.sequence,
        "ends": format_moment(found.validity_ns),
        "ttl_s": found.ttl_ns / S,
        "signed": None if signed is None else format_moment(signed),
        "parent": None if found.parent is None else printable(found.parent, 2000),
    }
