"""`plan`: who is to keep a data set's pieces on Filecoin, what each lacks, what that costs, and whether it can be paid.

Reads the chain alone. It signs nothing and asks no provider: what a dry run shows, and what is obeyed before the first
byte is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ...configs.filecoin import Filecoin
from ...configs.roster import Provider
from ...storage.chain.account import Account, account, session_until
from ...storage.chain.agreed import Anchor
from ...storage.chain.deployment import Deployment, wallet_of
from ...storage.chain.registry import StorageProvider, providers
from ...storage.chain.typed_data import permission
from ...storage.chain.wallet import Wallet
from ...storage.chain.warm_storage import ServiceAddresses
from ...storage.errors import ConfigError
from ...storage.pieces.manifest import PieceManifest
from ...storage.pieces.piece_cid import PieceCID
from ...storage.sources.netguard import NetGuard
from .choose import choose, named
from .journal import Journal
from .quote import CopyQuote, problems, quote, total
from .standing import Standing, standing

SESSION_LEFT_S = 3600  # that a session key has to be good for: a batch may take as long


@dataclass(frozen=True, slots=True)
class PlannedCopy:
    """One provider. `entry`: of the roster, or made for one that was chosen, which is dialled by `guard`."""

    entry: Provider
    guard: NetGuard
    provider: StorageProvider
    standing: Standing
    missing: tuple[PieceCID, ...]
    quote: CopyQuote


@dataclass(frozen=True, slots=True)
class Plan:
    """`problems`: why nothing can be paid now, or must not be, in sentences."""

    payer: str
    addresses: ServiceAddresses
    account: Account
    copies: tuple[PlannedCopy, ...]
    cost: CopyQuote
    problems: tuple[str, ...]
    anchor: Anchor


def journal_of(repo: Path, deployment: Deployment, payer: str) -> Journal:
    """The journal of one payer at one service, in a repository."""
    return Journal(
        repo / "filecoin.sqlite", f"{deployment.network.chain_id}/{deployment.network.service}/{payer}".lower()
    )


def payer_of(table: Filecoin, env: Mapping[str, str]) -> tuple[Wallet | None, str]:
    """Who signs, and who pays: without a key nothing can be signed, but the payer's account be looked at."""
    if table.key_env is None and table.key_file is None:
        if table.payer is None:
            raise ConfigError("[filecoin] names nobody who pays", hint="add key_env, key_file or payer")
        return None, table.payer
    wallet = wallet_of(table, env)
    return wallet, table.payer or wallet.address


def plan(
    manifest: PieceManifest, table: Filecoin, entries: Sequence[Provider], repo: Path, env: Mapping[str, str]
) -> Plan:
    """Of a manifest's pieces. `entries`: those of kind filecoin in the roster. Raises `ConfigError` where providers are
    not in the registry or too few fit, and as `Chain` does.
    """
    deployment = Deployment.of(table, env)
    wallet, payer = payer_of(table, env)
    journal = journal_of(repo, deployment, payer)
    at = deployment.chain.anchor()
    addresses = deployment.addresses(at)
    known = providers(deployment.chain, addresses.registry, at)
    chosen = _chosen(known, table, entries, manifest, deployment, payer, at)
    pieces = [piece.cid for piece in manifest.pieces]
    prices = deployment.service.prices(at)
    copies: list[PlannedCopy] = []
    for entry, guard, provider in chosen:
        there = standing(deployment, table, payer, provider, journal, at)
        missing = there.missing(pieces)
        lacking = set(missing)
        bound = [one for one in there.open if lacking.intersection(one.pieces)]
        new_set = there.data_set is None or any(not one.data_set for one in bound)
        signed = [[piece for piece in one.pieces if piece in lacking] for one in bound]
        cost = quote(missing, prices, new_set=new_set, signed=signed, pulled=bool(copies))
        copies.append(PlannedCopy(entry, guard, provider, there, tuple(missing), cost))
    cost = total([one.quote for one in copies])
    money = account(deployment.chain, deployment.network.service, addresses, payer, at)
    found = problems(cost, money, table.ceiling)
    if cost.pieces:
        found += _may_sign(deployment, addresses, wallet, payer, at)
        if deployment.chain.failed:  # whom the others name may be the one who is paid
            names = ", ".join(sorted(deployment.chain.failed))
            found.append(f"{names} does not answer: nothing is signed on the word of some endpoints alone")
    return Plan(payer, addresses, money, tuple(copies), cost, tuple(found), at)


def _chosen(
    known: list[StorageProvider], table: Filecoin, entries: Sequence[Provider], manifest: PieceManifest,
    deployment: Deployment, payer: str, at: Anchor,
) -> list[tuple[Provider, NetGuard, StorageProvider]]:  # fmt: skip
    anywhere = NetGuard(guarded=False)
    found = [(entry, anywhere, named(known, entry.url)) for entry in entries]
    sizes = [piece.cid.size for piece in manifest.pieces]
    for entry, _, provider in found:
        if unfit := [size for size in sizes if not provider.takes(size)]:
            raise ConfigError(
                f"{entry.name} takes pieces of {provider.min_bytes} to {provider.max_bytes} bytes, one has {unfit[0]}"
            )
    wanted = table.copies - len(found)
    if wanted > 0:
        before = {one.provider_id for one in deployment.service.sets_of(payer, at) if not one.end_epoch}
        taken = {provider.number for _, _, provider in found}
        approved = deployment.service.approved(at)
        local = table.network == "devnet"
        public = [one for one in known if local or _is_public(one.url)]
        for one in choose(public, table, sizes, wanted, taken=taken, before=before, approved=approved):
            entry = Provider(name=f"filecoin/{one.number}", kind="filecoin", url=one.url)
            found.append((entry, NetGuard(guarded=not local), one))
    return found


def _is_public(url: str) -> bool:
    """Whether an entry that anybody may have written seems to lead out of our own network, by TLS. Where the name of a
    host really leads is checked when it is dialled (`PlannedCopy.guard`).
    """
    parts = urlsplit(url)
    try:
        return parts.scheme == "https" and NetGuard().permits(parts.hostname or "")
    except ValueError:  # a name
        return parts.scheme == "https" and "." in (parts.hostname or "")


def _may_sign(
    deployment: Deployment, addresses: ServiceAddresses, wallet: Wallet | None, payer: str, at: Anchor
) -> list[str]:
    """A session key has to be allowed for both kinds of messages, for a while yet."""
    if wallet is None:
        return ["[filecoin] names no key to sign with"]
    if wallet.address == payer:
        return []
    for kind in ("CreateDataSet", "AddPieces"):
        until = session_until(deployment.chain, addresses.sessions, payer, wallet.address, permission(kind), at)
        if until < at.block.time_s + SESSION_LEFT_S:
            return [f"{wallet.address} may not sign {kind} for {payer} for another hour"]
    return []
