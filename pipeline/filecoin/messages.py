"""`Messages`: what is signed to have pieces kept by one provider, so that the same thing is always the same message.

A nonce follows from what a message says. So one that was signed anew, the journal being lost, is the same message to
the contract, which takes it once, as long as it is of the same pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...configs.filecoin import Filecoin
from ...storage.chain.abi import keccak256
from ...storage.chain.deployment import Deployment
from ...storage.chain.registry import StorageProvider
from ...storage.chain.typed_data import add_data, create_and_add_data, create_data
from ...storage.chain.wallet import Wallet
from ...storage.errors import PeerError, WrongBytesError
from ...storage.pieces.piece_cid import PieceCID
from .journal import Message
from .quote import quote
from .standing import INDEX_KEY, SOURCE_KEY, Standing, active_at

_MAX_USED = 1000  # times that the same pieces were added and removed


class Messages:
    """For one payer and one provider. Construction asks nobody."""

    def __init__(
        self, deployment: Deployment, table: Filecoin, wallet: Wallet, payer: str, provider: StorageProvider,
        check: Callable[[], None],
    ) -> None:  # fmt: skip
        self._deployment, self._table, self._wallet, self._payer = deployment, table, wallet, payer
        self._provider, self._check = provider, check

    def next(self, found: Standing, pieces: Sequence[PieceCID]) -> Message | None:
        """One for those of the pieces that are missing and not under way; None where there are none."""
        under_way = {piece for message in found.open for piece in message.pieces} | self._at_head()
        pieces = [piece for piece in found.missing(pieces) if piece not in under_way]
        if not pieces:
            return None
        terms = found.data_set
        if terms is None:
            client_id = self._unused(found, lambda number: self._nonce("create", found.sets + number, b""))
        else:
            client_id = terms.client_id
        content = b"".join(bytes(piece.v2) for piece in pieces)
        # one that was used: they were added once before, and removed since, for at this block they are not there
        nonce = self._unused(found, lambda number: self._nonce(hex(client_id), number, content))
        number = 0 if terms is None else terms.number
        return Message(0, self._provider.number, client_id, nonce, number, tuple(pieces), "")

    def cost(self, found: Standing, pieces: Sequence[PieceCID], *, new_set: bool) -> int:
        """What one message for these pieces costs in the first month, with its fees, by today's prices."""
        prices = self._deployment.service.prices(found.at)
        return quote(pieces, prices, new_set=new_set, signed=[pieces]).first_month

    def signed(self, message: Message) -> bytes:
        """The same bytes each time, as long as the key is the same (RFC 6979)."""
        domain = self._deployment.domain
        add = add_data(domain, self._wallet, message.client_id, message.nonce, message.pieces)
        if message.data_set:
            return add
        metadata = {SOURCE_KEY: self._table.source, INDEX_KEY: ""}
        create = create_data(domain, self._wallet, self._payer, message.client_id, self._provider.address, metadata)
        return create_and_add_data(create, add)

    def _at_head(self) -> set[PieceCID]:
        """What the newest blocks have: a message that nobody here remembers. Nothing where endpoints differ there."""
        try:
            at = self._deployment.chain.anchor(0)
            return set(active_at(self._deployment, self._table, self._payer, self._provider, at).pieces)
        except PeerError:
            return set()

    def _unused(self, found: Standing, nonce: Callable[[int], int]) -> int:
        for number in range(_MAX_USED):
            self._check()
            if self._deployment.service.used(self._payer, nonce(number), found.at) is None:
                return nonce(number)
        raise WrongBytesError(f"{_MAX_USED} nonces of the same message are said to be used: an endpoint lies")

    def _nonce(self, what: str, number: int, content: bytes) -> int:
        text = f"holdfast/{what}/{self._payer}/{self._provider.address}/{self._table.source}/{number}/"
        return int.from_bytes(keccak256(text.encode() + content), "big")
