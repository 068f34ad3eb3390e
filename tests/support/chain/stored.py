"""A small dataset as pieces in a repository, and what keeps them: with a chain that mines while it is waited for."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.configs.filecoin import Filecoin
from holdfast.pipeline.filecoin.copying import Pace
from holdfast.pipeline.filecoin.journal import Journal
from holdfast.pipeline.filecoin.keep import Keeping
from holdfast.pipeline.filecoin.plan import journal_of
from holdfast.pipeline.pieces.pack import pack
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.chain.abi import Event
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.cid import CID
from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.deploy import PAYER_KEY, Onchain
from support.running_node import publish_folder

ENV = {"PAYER_KEY": PAYER_KEY}
FILES = {f"{i}.bin": random.Random(i).randbytes(90_000) for i in range(5)}
PIECES = 3


@contextmanager
def dataset(repo: Path) -> Iterator[tuple[DiskStore, CID, PieceManifest]]:
    """Three pieces."""
    with DiskStore(repo).open() as store:
        root = publish_folder(store, repo.parent / "published", FILES)
        made = pack(store, root, max_group_bytes=120_000, max_piece_bytes=200_000)
        assert len(made.pieces) == PIECES
        yield store, root, made


def pace(onchain: Onchain, *, wait_s: float = 30.0) -> Pace:
    """An epoch passes at each look."""
    return Pace(wait_s=wait_s, poll_s=0.0, sleep=lambda _: onchain.anvil.mine())


def keeping(store: DiskStore, manifest: PieceManifest, onchain: Onchain, table: Filecoin, **other: Any) -> Keeping:
    """Providers are chosen, unless entries are given."""
    entries = other.pop("entries", [])
    return Keeping(store, manifest, table, entries, ENV, pace=other.pop("pace", pace(onchain)))


def table_text(onchain: Onchain, **keys: object) -> str:
    """A roster's [filecoin] table, as a user writes it."""
    lines = {
        "network": "devnet", "rpc": [onchain.anvil.url], "chain_id": onchain.table().chain_id,
        "service": onchain.service, "verifier": onchain.verifier, "confirmations": 1, **keys,
    }  # fmt: skip
    return "[filecoin]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())


def journal(store: DiskStore, onchain: Onchain) -> Journal:
    """What is noted."""
    return journal_of(store.folder, Deployment.of(onchain.table(), ENV), onchain.payer)


def times_paid(onchain: Onchain) -> dict[bytes, int]:
    """How often the service was paid for each piece, at all providers together, by its own events."""
    from holdfast.storage.chain.abi import decode, hexadecimal

    topic = hexadecimal(Event("PieceAdded", ("uint256", "uint256"), ("(bytes)",)).topic)
    found: dict[bytes, int] = {}
    rpc = onchain.anvil.rpc
    for log in rpc.logs(onchain.service, [topic], 0, rpc.head()):
        ((data,),) = decode(("(bytes)",), log.data, "PieceAdded")
        found[data] = found.get(data, 0) + 1
    return found
