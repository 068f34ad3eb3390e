"""`pin add` of many roots at once: the list of them, how far it is, and what came out."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import parse_duration
from .output import emit
from .placing import placed_document, placed_line, placements_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..configs.roster import Provider
    from ..pipeline.place.state import Placed
    from ..storage.cid import CID

_MAX_SHOWN = 20  # of what went wrong


def read_wanted(uris: Sequence[str], name: str, listed: str | None) -> dict[CID, str]:
    """The roots to be kept, each with its name: `name`, or what its line says. Raises `ConfigError`."""
    from ..storage.uri import DatasetUri

    wanted: dict[CID, str] = {}
    for text, called, line in [*((uri, name, "") for uri in uris), *(_lines(listed, name) if listed else ())]:
        try:
            where = DatasetUri.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{line}{error.message}", hint=error.hint) from error
        if where.path:
            raise ConfigError(f"{line}{text}: a pin is of a whole DAG", hint="give its CID, as `holdfast ls` shows it")
        wanted[where.root] = called
    if not wanted:
        raise ConfigError("nothing to keep was named", hint="give a URI, or a file of them with --list FILE")
    return wanted


def _lines(listed: str, name: str) -> Iterator[tuple[str, str, str]]:
    try:
        text = sys.stdin.read() if listed == "-" else Path(listed).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{listed} cannot be read: {why}", hint="give a file with a line URI [NAME] each") from error
    for number, line in enumerate(text.splitlines(), 1):
        uri, _, called = line.strip().partition(" ")
        if uri and not uri.startswith("#"):
            yield uri, called.strip() or name, f"{listed}, line {number}: "


def place_many_with(
    providers: Sequence[Provider], wanted: dict[CID, str], repo: Path, origins: Sequence[str] | None, wait: str
) -> list[Placed]:
    """Have them all keep all of it; how far each is, is a line on a terminal."""
    from ..pipeline.place.many import place_many
    from ..pipeline.place.placing import PlaceOptions
    from ..storage.blocks.disk import DiskStore

    def say(provider: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"  {provider}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201

    options = PlaceOptions(tuple(origins or ()), parse_duration(wait))
    with DiskStore(repo).open(create=False) as store:
        return place_many(store, wanted, providers, placements_of(repo), options=options, on_many=say)


def show_many(placed: Sequence[Placed], roots: int, *, as_json: bool) -> None:
    """How many of each; the first that went wrong by name. Exit 1 unless every one keeps all of it."""
    wrong = [one for one in placed if one.failed or not one.kept]
    providers = [
        {"provider": name, "pinned": pinned, "proven": proven, "roots": roots}
        for name, pinned, proven in _counted(placed)
    ]
    document = {"providers": providers, "problems": [placed_document(one) for one in wrong[:_MAX_SHOWN]]}
    words = [f"{one['provider']}: {one['pinned']} of {roots} pinned, {one['proven']} proven" for one in providers]
    words += [f"  {one.root} at {placed_line(one)}" for one in wrong[:_MAX_SHOWN]]
    if len(wrong) > _MAX_SHOWN:
        words.append(f"  … and {len(wrong) - _MAX_SHOWN} more: `holdfast pin status CID` says why")
    emit(document, as_json=as_json, words="\n".join(words))
    if wrong:
        raise typer.Exit(1)


def _counted(placed: Iterable[Placed]) -> Iterator[tuple[str, int, int]]:
    pinned, proven = Counter[str](), Counter[str]()
    names = dict.fromkeys(one.provider for one in placed)
    for one in placed:
        pinned[one.provider] += one.kept
        proven[one.provider] += one.counts
    for name in names:
        yield name, pinned[name], proven[name]
