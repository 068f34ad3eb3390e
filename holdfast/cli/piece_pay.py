"""For those who pay for storage on Filecoin: `piece providers`, `piece quote`, `piece fund`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..configs.errors import ConfigError
from ..configs.filecoin import format_usdfc, parse_usdfc
from ..configs.sizes import format_size
from .options import AsJson, Repo, repo_path
from .output import emit, progress, warn

if TYPE_CHECKING:
    from ..pipeline.filecoin.plan import Plan
    from ..pipeline.place.pieces import PieceKeepers

ToRoster = Annotated[Path, typer.Option("--to", metavar="ROSTER", help="A roster with a [filecoin] table.")]


def providers(to: ToRoster, as_json: AsJson = False) -> None:
    """List the storage providers of the registry on the chain: what they take, where they are. Signs nothing."""
    from ..storage.chain.deployment import Deployment
    from ..storage.chain.registry import providers as known

    keepers = _keepers(to)
    deployment = Deployment.of(keepers.table, os.environ)
    at = deployment.chain.anchor()
    found = known(deployment.chain, deployment.addresses(at).registry, at)
    documents = [
        {
            "number": one.number, "name": one.name, "url": one.url, "address": one.address, "location": one.location,
            "min_bytes": one.min_bytes, "max_bytes": one.max_bytes, "price_tib_month": one.price_tib_day * 30,
        }
        for one in found
    ]  # fmt: skip
    words = [
        f"{one.number:4} {one.url}  {one.name}, {one.location or 'location not said'}; "
        f"to {format_size(one.max_bytes)}, asks for {format_usdfc(one.price_tib_day * 30)} a TiB and month"
        for one in found
    ]
    words.append(f"{len(found)} providers at block {at.block.number} of {deployment.network.name}")
    emit({"providers": documents, "block": at.block.number}, as_json=as_json, words="\n".join(words))


def quote(
    uri: Annotated[str, typer.Argument(metavar="URI", help="A dataset of the repository.")],
    to: ToRoster,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Say who would keep a dataset's pieces, and what it costs: a dry run. Signs and sends nothing; exit 1 if
    `pin add --to` would refuse.
    """
    from ..pipeline.filecoin.keep import Keeping
    from ..pipeline.pieces.kept import manifest_for
    from ..storage.blocks.disk import DiskStore
    from ..storage.session import locate

    keepers = _keepers(to)
    where = locate(uri, None, warn)
    if where.path:
        raise ConfigError(f"{uri} is a path in a dataset", hint="pieces are made of a whole one: give its root")
    with DiskStore(repo_path(repo)).open(create=False) as store:
        with progress("packing") as update:
            manifest = manifest_for(store, where.root, update)
        planned = Keeping(store, manifest, keepers.table, keepers.entries, os.environ).plan()
    emit(_document(planned), as_json=as_json, words="\n".join(_words(planned)))
    if planned.problems:
        raise typer.Exit(1)


def fund(
    amount: Annotated[str, typer.Argument(metavar="USDFC", help="What to deposit, such as 2.50; 0 to approve only.")],
    to: ToRoster,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the transactions are signed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deposit USDFC for storage, and let the storage service spend what is deposited. Up to three transactions, which
    cost gas. What is approved already is not approved again; a deposit is made each time: after an error look at the
    account (`piece quote`) first.
    """
    from ..pipeline.filecoin.fund import fund as run
    from ..pipeline.filecoin.fund import steps

    keepers = _keepers(to)
    try:
        value = parse_usdfc(amount)
    except ValueError as error:
        raise ConfigError(f"USDFC: {error}", hint="holdfast piece fund 2.50 --to ROSTER") from error
    wanted = steps(keepers.table, value, os.environ)
    if not wanted:
        emit({"transactions": []}, as_json=as_json, words="nothing to do: it is approved, and nothing is deposited")
        return
    if not yes:
        typer.echo("\n".join(f"  {one.words}" for one in wanted), err=True)
        if not typer.confirm("Sign and send?", err=True):
            raise ConfigError("nothing was signed", hint="--yes signs without a question")
    sent = run(keepers.table, wanted, os.environ)
    document = [{"what": step.words, "transaction": mark} for step, mark in zip(wanted, sent, strict=True)]
    words = "\n".join(f"{step.words}: {mark}" for step, mark in zip(wanted, sent, strict=True))
    emit({"transactions": document}, as_json=as_json, words=words)


def _keepers(roster: Path) -> PieceKeepers:
    from ..configs.roster import Roster
    from ..pipeline.place.pieces import PieceKeepers

    found = PieceKeepers.of(Roster.load(roster))
    if found is None:
        raise ConfigError(f"{roster} has no [filecoin] table", hint="docs/filecoin.md has one to begin with")
    return found


def _document(planned: Plan) -> dict[str, Any]:
    cost = planned.cost
    return {
        "payer": planned.payer, "block": planned.anchor.block.number, "pieces": cost.pieces, "bytes": cost.bytes,
        "month": cost.month, "once": cost.once, "lockup": cost.lockup, "first_month": cost.first_month,
        "available": planned.account.available, "problems": list(planned.problems),
        "copies": [
            {
                "provider": one.entry.name, "number": one.provider.number, "url": one.entry.url,
                "location": one.provider.location, "pieces": one.quote.pieces, "bytes": one.quote.bytes,
                "month": one.quote.month, "once": one.quote.once,
                "data_set": one.standing.data_set.number if one.standing.data_set else None,
            }
            for one in planned.copies
        ],
    }  # fmt: skip


def _words(planned: Plan) -> list[str]:
    words = []
    for one in planned.copies:
        where = f"data set {one.standing.data_set.number}" if one.standing.data_set else "a new data set"
        what = f"{one.quote.pieces} pieces, {format_size(one.quote.bytes)}" if one.quote.pieces else "has all of it"
        words.append(
            f"{one.entry.name} ({one.entry.url}, {one.provider.location or 'location not said'}): {what}, {where};"
            f" {format_usdfc(one.quote.month)} a month, {format_usdfc(one.quote.once)} once"
        )
    cost = planned.cost
    words.append(
        f"all: {format_usdfc(cost.first_month)} for the first month with fees, then {format_usdfc(cost.month)} each"
    )
    words.append(
        f"{format_usdfc(cost.lockup + cost.once)} have to be deposited; {planned.payer} has"
        f" {format_usdfc(planned.account.available)}"
    )
    words += [f"  would be refused: {problem}" for problem in planned.problems]
    return words
