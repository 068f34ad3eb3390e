"""What `piece audit` reads from Filecoin's chain, as JSON and in words."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.errors import ConfigError

if TYPE_CHECKING:
    from ..pipeline.audit.announced import Announcement
    from ..pipeline.audit.chain import ChainAudit
    from ..storage.chain.registry import StorageProvider
    from ..storage.pieces.manifest import PieceManifest


@dataclass(frozen=True, slots=True)
class ReadChain:
    """What the chain says; and the providers that nobody named, but who are paid for pieces of the manifest."""

    audit: ChainAudit
    chosen: tuple[tuple[str, StorageProvider], ...] = ()


def read_chain(manifest: PieceManifest, roster: Path | None, data_sets: list[int], *, must: bool) -> ReadChain | None:
    """What the chain says of a manifest's pieces; None for a roster without a [filecoin] table. `must`: then it raises
    `ConfigError`. Raises `PeerError` where the chain cannot be read, or endpoints contradict each other.
    """
    from ..configs.roster import Roster
    from ..pipeline.audit.chain import audit_chain
    from ..pipeline.audit.paid import chosen_by, provider_of
    from ..pipeline.filecoin.plan import payer_of
    from ..storage.chain.deployment import Deployment
    from ..storage.chain.registry import providers

    loaded = Roster.load(roster) if roster is not None else None
    table = loaded.filecoin if loaded is not None else None
    if table is None or loaded is None:
        if must or data_sets:
            raise ConfigError("no roster with a [filecoin] table was given", hint="--roster FILE; see docs/filecoin.md")
        return None
    deployment = Deployment.of(table, os.environ)
    if data_sets:
        return ReadChain(audit_chain(manifest, deployment, [], None, data_sets=data_sets))
    payer = table.payer or payer_of(table, os.environ)[1]
    at = deployment.chain.anchor()
    known = providers(deployment.chain, deployment.addresses(at).registry, at, retired=True)
    ours = deployment.service.sets_of(payer, at)
    storing = {one.provider_id for one in ours}
    entries = [one for one in loaded.providers if one.kind == "filecoin"]
    named = [(one.name, provider_of(known, one.url, storing)) for one in entries]
    chosen: list[tuple[str, StorageProvider]] = []
    if sum(one is not None for _, one in named) < table.copies:
        taken = {one.number for _, one in named if one is not None}
        mine = [one for one in ours if one.provider_id not in taken]
        chosen = chosen_by(deployment, table.source, mine, known, manifest, at)
    found = audit_chain(manifest, deployment, [*named, *chosen], payer, expected=table.copies)
    return ReadChain(found, tuple(chosen))


def read_announced(manifest: PieceManifest, roster: Path | None) -> list[Announcement]:
    """What providers of a roster say of their announcing, and what its routers know of it; nothing without a router."""
    from ..configs.roster import Roster
    from ..pipeline.audit.announced import audit_announced
    from ..storage.names.router import Router

    entries = Roster.load(roster).providers if roster is not None else ()
    routers = [Router(one, env=os.environ) for one in entries if one.kind == "router"]
    providers = [one for one in entries if one.kind == "filecoin"]
    return audit_announced(manifest, providers, routers, os.environ) if routers else []


def announced_words(found: list[Announcement]) -> list[str]:
    """A line each."""
    words = []
    for one in found:
        said = ", ".join(f"{count} {state or 'not said'}" for state, count in one.said.items()) or "nothing"
        why = f" ({one.problem})" if one.problem else ""
        words.append(f"  {one.name}: says {said}; routers name it for {one.found} of {one.asked} blocks{why}")
    return ["announced to the network's index:", *words] if words else []


def chain_document(found: ChainAudit) -> dict[str, Any]:
    """As JSON, and as a signed report has it."""
    block = found.anchor.block
    return {
        "chain": {
            "network": found.network, "chain_id": found.chain_id, "block": block.number, "hash": block.hash,
            "time": block.time_s, "endpoints": list(found.anchor.witnesses), "silent": list(found.silent),
            "ok": found.ok,
            "findings": [asdict(one) | {"verdict": one.verdict.value, "ok": one.ok} for one in found.findings],
        }
    }  # fmt: skip


def chain_words(found: ChainAudit) -> list[str]:
    """In words, a line a provider and one a reason."""
    block = found.anchor.block
    words = [f"on {found.network}, at block {block.number} ({block.hash[:18]}…):"]
    for one in found.findings:
        sets = ", ".join(map(str, one.data_sets)) or "none"
        paid = f" paid by {', '.join(one.payers)}" if one.payers else ""
        proven = f"last proven in epoch {one.last_proven}" if one.last_proven else "never proven"
        words.append(
            f"  {one.name}: {one.verdict.value}: {one.pieces} of {one.pieces + len(one.missing)} pieces in data set"
            f" {sets}{paid}, {proven}, {one.proofs} proofs and {one.faults} missed periods in {one.blocks} epochs"
        )
        words += [f"    {reason}" for reason in one.reasons]
    if len(found.findings) < found.expected:
        words.append(
            f"  {found.expected} copies are wanted, {len(found.findings)} providers are paid for pieces of this dataset"
        )
    words += [f"  did not answer everything: {url}" for url in found.silent]
    if len(found.anchor.witnesses) == 1:
        words.append("  one endpoint only: nothing was compared; name a second one in rpc = […]")
    return words
