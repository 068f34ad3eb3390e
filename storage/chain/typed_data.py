"""What a client signs for Filecoin Warm Storage (EIP-712), and how it is wrapped for the chain (`extraData`).

The types are those of filecoin-services, SignatureVerificationLib; their official cases are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..pieces.piece_cid import PieceCID
from .abi import encode, keccak256
from .wallet import Wallet

_ENTRY = [{"name": "key", "type": "string"}, {"name": "value", "type": "string"}]
_TYPES: dict[str, list[dict[str, str]]] = {
    "MetadataEntry": _ENTRY,
    "CreateDataSet": [
        {"name": "clientDataSetId", "type": "uint256"},
        {"name": "payee", "type": "address"},
        {"name": "metadata", "type": "MetadataEntry[]"},
    ],
    "Cid": [{"name": "data", "type": "bytes"}],
    "PieceMetadata": [{"name": "pieceIndex", "type": "uint256"}, {"name": "metadata", "type": "MetadataEntry[]"}],
    "AddPieces": [
        {"name": "clientDataSetId", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "pieceData", "type": "Cid[]"},
        {"name": "pieceMetadata", "type": "PieceMetadata[]"},
    ],
    "SchedulePieceRemovals": [
        {"name": "clientDataSetId", "type": "uint256"},
        {"name": "pieceIds", "type": "uint256[]"},
    ],
}
_NEEDS = {
    "CreateDataSet": ("CreateDataSet", "MetadataEntry"),
    "AddPieces": ("AddPieces", "Cid", "MetadataEntry", "PieceMetadata"),
    "SchedulePieceRemovals": ("SchedulePieceRemovals",),
}


@dataclass(frozen=True, slots=True)
class Domain:
    """The service that the signatures are for, and its chain: they hold nowhere else."""

    chain_id: int
    service: str

    def sign(self, wallet: Wallet, kind: str, message: Mapping[str, Any]) -> bytes:
        """65 bytes."""
        domain = {
            "name": "FilecoinWarmStorageService",
            "version": "1",
            "chainId": self.chain_id,
            "verifyingContract": self.service,
        }
        return wallet.sign(domain, {name: _TYPES[name] for name in _NEEDS[kind]}, message)


def permission(kind: str) -> bytes:
    """What a session key has to be allowed for messages of this kind: the hash of their type."""
    text = ""
    for name in _NEEDS[kind]:
        fields = ",".join(f"{field['type']} {field['name']}" for field in _TYPES[name])
        text += f"{name}({fields})"
    return keccak256(text.encode())


def create_data(
    domain: Domain, wallet: Wallet, payer: str, client_id: int, payee: str, metadata: Mapping[str, str]
) -> bytes:
    """A data set is to be made at `payee`; `client_id` can be used once."""
    entries = [{"key": key, "value": value} for key, value in metadata.items()]
    signature = domain.sign(
        wallet, "CreateDataSet", {"clientDataSetId": client_id, "payee": payee, "metadata": entries}
    )
    types = ("address", "uint256", "string[]", "string[]", "bytes")
    return encode(types, (payer, client_id, list(metadata), list(metadata.values()), signature))


def add_data(domain: Domain, wallet: Wallet, client_id: int, nonce: int, pieces: Sequence[PieceCID]) -> bytes:
    """Pieces are to be added to the data set that was made with `client_id`; `nonce` can be used once."""
    message = {
        "clientDataSetId": client_id,
        "nonce": nonce,
        "pieceData": [{"data": bytes(piece.v2)} for piece in pieces],
        "pieceMetadata": [{"pieceIndex": index, "metadata": []} for index in range(len(pieces))],
    }
    signature = domain.sign(wallet, "AddPieces", message)
    nothing: list[list[str]] = [[] for _ in pieces]
    return encode(("uint256", "string[][]", "string[][]", "bytes"), (nonce, nothing, nothing, signature))


def create_and_add_data(create: bytes, add: bytes) -> bytes:
    """Both in one transaction."""
    return encode(("bytes", "bytes"), (create, add))


def removal_data(domain: Domain, wallet: Wallet, client_id: int, ids: Sequence[int]) -> bytes:
    """Pieces are to be kept no longer."""
    signature = domain.sign(wallet, "SchedulePieceRemovals", {"clientDataSetId": client_id, "pieceIds": list(ids)})
    return encode(("bytes",), (signature,))
