"""For those who keep data: `pin add|ls|rm|status`, here or at a peer or pinning service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..configs.errors import ConfigError
from ..configs.sizes import parse_duration
from .options import AsJson, Repo, repo_path
from .output import emit
from .placing import list_pins, place_with, read_keepers, remove_pins, roster_of, show_placed, show_state
from .placing_many import place_many_with, read_wanted, show_many

if TYPE_CHECKING:
    from ..storage.pins.pin import Pin
    from ..storage.pins.target import PinTarget

pin = typer.Typer(no_args_is_help=True, help="Pins: what a repository, a peer or a pinning service keeps.")

To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="URL|ROSTER", help="A peer or pinning service, or all of a roster; else the repository here."
    ),
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="The bearer token of --to.")]
Which = Annotated[str, typer.Argument(help="A CID, a name, or the id of a request, as `pin ls` prints them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    pin.command("add")(add)
    pin.command("ls")(ls)
    pin.command("rm")(rm)
    pin.command("status")(status)
    app.add_typer(pin, name="pin")


def add(
    uris: Annotated[list[str] | None, typer.Argument(metavar="URI...", help="ipfs://CID, or a bare CID.")] = None,
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    listed: Annotated[
        str | None, typer.Option("--list", metavar="FILE", help="More of them, a line each: URI [NAME]; - is stdin.")
    ] = None,
    origins: Annotated[
        list[str] | None, typer.Option("--origin", metavar="URL", help="Where --to may fetch it from; again for more.")
    ] = None,
    wait: Annotated[str | None, typer.Option("--wait", metavar="TIME", help="Wait so long until it is pinned.")] = None,
    to: To = None,
    token_file: TokenFile = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Keep whole DAGs. The repository here keeps what it has already; --to fetches what it lacks."""
    from ..storage.pins.wait import Requested
    from ..storage.pins.wait import wait as until

    if origins and to is None:
        raise ConfigError("--origin goes with --to", hint="the repository here fetches nothing; a running peer does")
    wanted = read_wanted(uris or [], name, listed)
    if (roster := roster_of(to)) is not None:
        if token_file:
            raise ConfigError("--token-file goes with --to URL", hint="a roster names the token of each provider")
        keepers = read_keepers(roster, wait or "1h")
        if len(wanted) > 1:
            if keepers.pieces is not None:
                raise ConfigError(
                    "a roster with [filecoin] takes one URI at a time",
                    hint="each is packed into pieces of its own: name one, or take the table out",
                )
            show_many(
                place_many_with(keepers.targets, wanted, repo_path(repo), origins, wait or "1h"),
                len(wanted),
                as_json=as_json,
            )
            return
        ((root, called),) = wanted.items()
        show_placed(place_with(keepers, root, called, repo_path(repo), origins, wait or "1h"), as_json=as_json)
        return
    if len(wanted) > 1:
        raise ConfigError("several URIs go with --to ROSTER", hint="name each alone, or write a roster of one provider")
    ((root, called),) = wanted.items()
    with _target(to, token_file, repo) as target:
        found = target.add(root, called, origins or [])
        if wait is not None:
            (done,) = until([Requested(target, found)], parse_duration(wait))
            found = done.pin
    _say(found, as_json=as_json)


def ls(to: To = None, token_file: TokenFile = None, repo: Repo = None, as_json: AsJson = False) -> None:
    """List what is kept, and published names with it; or what each provider of a roster says that it keeps."""
    if (roster := roster_of(to)) is not None:
        list_pins(roster, as_json=as_json)
        return
    with _target(to, token_file, repo) as target:
        found = target.ls()
    words = "\n".join(map(_line, found)) or "(none)"
    emit({"pins": [_document(item) for item in found]}, as_json=as_json, words=words)


def rm(which: Which, to: To = None, token_file: TokenFile = None, repo: Repo = None, as_json: AsJson = False) -> None:
    """Keep it no longer, here, at --to, or at every provider of a roster. The space is freed by the next gc."""
    if (roster := roster_of(to)) is not None:
        remove_pins(which, roster, repo_path(repo), as_json=as_json)
        return
    with _target(to, token_file, repo) as target:
        found = _matching(target, which)
        for item in found:
            target.rm(item.requestid)
    words = "\n".join(f"no longer kept: {_line(item)}" for item in found)
    emit({"removed": [_document(item) for item in found]}, as_json=as_json, words=words)


def status(
    which: Annotated[
        str | None, typer.Argument(help="A CID, a name, or the id of a request; all, if not given.")
    ] = None,
    to: To = None,
    token_file: TokenFile = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Say how far a pin is, or what each provider promised and what was proven; exit 1 when one failed.

    Of a roster (`--to`), or of all providers without a name, it is what was noted at the last `publish --to` or
    `pin add --to`: nobody is asked.
    """
    roster = roster_of(to)
    if roster is not None or which is None:
        show_state(which, roster, repo_path(repo), as_json=as_json)
        return
    with _target(to, token_file, repo) as target:
        found = _matching(target, which)[0]
    _say(found, as_json=as_json)


@contextmanager
def _target(to: str | None, token_file: Path | None, repo: Path | None) -> Iterator[PinTarget]:
    if to is None:
        from ..storage.blocks.disk import DiskStore
        from ..storage.node.pin_local import LocalPins

        if token_file:
            raise ConfigError("--token-file goes with --to", hint="the repository here asks for no token")
        with DiskStore(repo_path(repo)).open(create=False) as store:
            yield LocalPins(store)
        return
    from ..configs.roster import Provider
    from ..storage.pins.pinning_service import PinningService

    yield PinningService(Provider.at(to, "pinning-service", token_file=token_file))


def _matching(target: PinTarget, which: str) -> list[Pin]:
    from ..storage.cid import CID
    from ..storage.errors import FormatError

    if not which:
        raise ConfigError("an empty argument names no pin", hint="`holdfast pin ls` shows CID, name and id of each")
    try:
        root = CID.parse(which.removeprefix("ipfs://")).v1()
    except FormatError:
        root = None
    found = [item for item in target.ls() if which in (item.requestid, item.name) or root == item.cid.v1()]
    if not found:
        raise ConfigError(f"{target.name} has no pin {which!r}", hint="`holdfast pin ls` shows those it has")
    return found


def _say(found: Pin, *, as_json: bool) -> None:
    emit(_document(found), as_json=as_json, words=_line(found))
    if found.status.value == "failed":
        raise typer.Exit(1)


def _document(found: Pin) -> dict[str, Any]:
    return {
        "requestid": found.requestid,
        "cid": str(found.cid),
        "name": found.name,
        "status": found.status.value,
        "info": dict(found.info),
    }


def _line(found: Pin) -> str:
    progress = found.progress()
    far = f" ({progress[0]} of {progress[1]} bytes)" if progress and found.status.value == "pinning" else ""
    why = f": {found.error}" if found.error else ""
    return f"{found.status.value:8} {found.cid} {found.name or '-'} {found.requestid}{far}{why}"
