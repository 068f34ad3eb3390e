"""Whose copies an audit looks at: the provider at a URL of a roster, and those whom nobody named but who are paid."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...storage.chain.agreed import Anchor
from ...storage.chain.deployment import Deployment
from ...storage.chain.registry import StorageProvider
from ...storage.chain.warm_storage import DataSetTerms
from ...storage.pieces.manifest import PieceManifest
from ..filecoin.choose import same_place
from ..filecoin.standing import SOURCE_KEY


def provider_of(known: Sequence[StorageProvider], url: str, storing: Collection[int]) -> StorageProvider | None:
    """The provider at a URL: the one that is `storing` something, though it may have left the registry; else the active
    one. None where there is none, or several.
    """
    here = [one for one in known if same_place(one.url, url)]
    for fit in ([one for one in here if one.number in storing], [one for one in here if one.active]):
        if fit:
            return fit[0] if len(fit) == 1 else None
    return None


def chosen_by(
    deployment: Deployment, source: str, sets: Sequence[DataSetTerms], known: Sequence[StorageProvider],
    manifest: PieceManifest, at: Anchor,
) -> list[tuple[str, StorageProvider]]:  # fmt: skip
    """Who is paid for pieces of the manifest by data sets that are marked with `source`, or was until a data set of
    theirs was deleted. A provider that has left the registry is among them.
    """
    by_number = {one.number: one for one in known}
    wanted = {piece.cid for piece in manifest.pieces}
    found: dict[int, StorageProvider] = {}
    for terms in sets:
        if terms.end_epoch and at.block.number > terms.end_epoch:
            continue
        if deployment.service.metadata(terms.number, at).get(SOURCE_KEY) != source:
            continue
        live = deployment.verifier.live(terms.number, at)
        if live and wanted.isdisjoint(deployment.verifier.pieces(terms.number, at).values()):
            continue  # another dataset's
        gone = StorageProvider.gone(terms.provider_id, terms.provider)
        found[terms.provider_id] = by_number.get(terms.provider_id, gone)
    return [(f"filecoin/{number}", found[number]) for number in sorted(found)]
