"""`quote`: what it costs to have pieces kept, before anything is signed. Pure; amounts in the token's smallest unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...configs.filecoin import format_usdfc
from ...storage.chain.account import Account
from ...storage.chain.warm_storage import EPOCHS_PER_MONTH, Prices
from ...storage.pieces.piece_cid import PieceCID
from ...storage.pins.curio import MAX_PIECES_A_CALL

_TIB = 1 << 40


@dataclass(frozen=True, slots=True)
class CopyQuote:
    """What one more copy adds at one provider. `month`: as long as it is kept; `once`: fees; `lockup`: has to be in the
    account beyond the fees, and comes back at the end, as far as it is not used.
    """

    pieces: int
    bytes: int
    month: int
    once: int
    lockup: int

    @property
    def first_month(self) -> int:
        """What the first month costs, with all fees: what a ceiling is held against."""
        return self.month + self.once


def quote(
    pieces: Sequence[PieceCID],
    prices: Prices,
    *,
    new_set: bool,
    signed: Sequence[Sequence[PieceCID]] = (),
    pulled: bool = False,
) -> CopyQuote:
    """Of pieces that one provider does not have yet. `signed`: messages for some of them that may still be used;
    `pulled`: the provider is to fetch them from another one, and the first one alone.

    Rounded up, for each message; a service before 1.3, whose least price a large data set does not pay, is quoted with
    it.
    """
    if not pieces:
        return CopyQuote(0, 0, 0, 0, 0)
    bound = {piece for message in signed for piece in message}
    messages = [*signed, *_batches([piece for piece in pieces if piece not in bound], pulled)]
    month = sum(_month(message, prices) for message in messages) + (prices.set_month if new_set else 0)
    once = len(messages) * prices.add + len(pieces) * prices.add_piece + (prices.create if new_set else 0)
    lockup = -(-month * prices.lockup_epochs // EPOCHS_PER_MONTH) + (prices.reserve if new_set else 0)
    return CopyQuote(len(pieces), sum(piece.size for piece in pieces), month, once, lockup)


def _batches(pieces: Sequence[PieceCID], pulled: bool) -> list[Sequence[PieceCID]]:
    first = 1 if pulled and pieces else 0
    rest = range(first, len(pieces), MAX_PIECES_A_CALL)
    return [pieces[:1]] * first + [pieces[at : at + MAX_PIECES_A_CALL] for at in rest]


def _month(pieces: Sequence[PieceCID], prices: Prices) -> int:
    billed = -(-sum(piece.leaves for piece in pieces) * 32 * 127 // 128)
    return -(-billed * prices.storage_tib_month // _TIB)


def total(quotes: Sequence[CopyQuote]) -> CopyQuote:
    """Over all copies."""
    return CopyQuote(
        sum(one.pieces for one in quotes), sum(one.bytes for one in quotes), sum(one.month for one in quotes),
        sum(one.once for one in quotes), sum(one.lockup for one in quotes),
    )  # fmt: skip


def problems(cost: CopyQuote, account: Account, ceiling: int | None) -> list[str]:
    """Why it cannot be paid, or must not be, in sentences; nothing where all is in order."""
    found = []
    if cost.pieces and ceiling is None:
        found.append("[filecoin] sets no ceiling: what one call may cost")
    elif ceiling is not None and cost.first_month > ceiling:
        found.append(f"the first month costs {format_usdfc(cost.first_month)}, the ceiling is {format_usdfc(ceiling)}")
    needed = cost.lockup + cost.once
    if needed > account.available:
        found.append(f"{format_usdfc(needed)} have to be deposited, {format_usdfc(account.available)} are")
    if cost.pieces and not account.approved:
        found.append("the storage service is not approved to spend what is deposited")
    elif cost.pieces and (account.lockup < needed or account.rate < -(-cost.month // EPOCHS_PER_MONTH)):
        found.append("the storage service is approved to spend less than that")
    return found
