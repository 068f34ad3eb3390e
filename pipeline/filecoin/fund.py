"""`fund`: deposit for storage, and approve the service that may spend it. The only transactions that we send ourselves.

Everything else is a signed message that a storage provider sends, who pays the gas. An approval that the chain has
already is not sent again; a deposit is made each time. A transaction is waited for before the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...configs.filecoin import Filecoin, format_usdfc
from ...storage.chain.account import APPROVE, APPROVE_OPERATOR, DEPOSIT, account
from ...storage.chain.deployment import Deployment, wallet_of
from ...storage.errors import ConfigError, UnavailableError, WrongBytesError
from ...storage.printable import printable
from .plan import payer_of

_UNBOUNDED = 2**256 - 1
_MAX_LOCKUP_EPOCHS = 86_400 * 12
_WAIT_S = 600.0
_MAX_GAS_COST = 10**18 // 2  # of one transaction; on mainnet they cost some 0.01 FIL


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction to be sent: to whom, what, and in words."""

    to: str
    data: bytes
    words: str


def steps(table: Filecoin, amount: int, env: Mapping[str, str]) -> list[Step]:
    """What is left to do to have `amount` more in the account, and the service approved. Signs nothing.

    The service is approved without a bound, as its makers' tools do: what it can take is bounded by what is deposited.
    Raises `ConfigError` for a wallet that has less, or a session key, which owns nothing.
    """
    wallet, payer = payer_of(table, env)
    if wallet is None or wallet.address != payer:
        raise ConfigError(
            "deposits are made by the payer's own key", hint="name it by key_env or key_file, and no payer"
        )
    deployment = Deployment.of(table, env)
    at = deployment.chain.anchor(0)
    addresses = deployment.addresses(at)
    now = account(deployment.chain, deployment.network.service, addresses, payer, at)
    if amount > now.wallet:
        raise ConfigError(
            f"{payer} has {format_usdfc(now.wallet)}, not {format_usdfc(amount)}", hint="send it USDFC first"
        )
    found = []
    if amount:
        if now.allowance < amount:
            words = f"let the payments contract take {format_usdfc(amount)}"
            found.append(Step(addresses.token, APPROVE.encode(addresses.payments, amount), words))
        words = f"deposit {format_usdfc(amount)}"
        found.append(Step(addresses.payments, DEPOSIT.encode(addresses.token, payer, amount), words))
    if not now.approved or min(now.rate, now.lockup) < _UNBOUNDED >> 2:
        limits = (True, _UNBOUNDED, _UNBOUNDED, _MAX_LOCKUP_EPOCHS)
        data = APPROVE_OPERATOR.encode(addresses.token, deployment.network.service, *limits)
        found.append(Step(addresses.payments, data, "let the storage service spend what is deposited"))
    return found


def fund(
    table: Filecoin, wanted: Sequence[Step], env: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
) -> list[str]:
    """Sign, send, and wait for each; the hashes. Raises `UnavailableError` for one that is not mined in ten minutes."""
    deployment, wallet = Deployment.of(table, env), wallet_of(table, env)
    return [_send(deployment, wallet.address, wallet.transaction, step, sleep) for step in wanted]


def _send(
    deployment: Deployment, sender: str, sign: Callable[[Mapping[str, object]], bytes], step: Step,
    sleep: Callable[[float], None],
) -> str:  # fmt: skip
    rpc = deployment.chain.first
    call = {"from": sender, "to": step.to, "data": "0x" + step.data.hex()}
    fee = rpc.number("eth_gasPrice")
    gas = rpc.number("eth_estimateGas", call) * 5 // 4
    fields = {
        "chainId": deployment.network.chain_id,
        "nonce": rpc.number("eth_getTransactionCount", sender, "pending"),
        "to": _checksummed(step.to),
        "value": 0,
        "data": call["data"],
        "gas": gas,
        "maxFeePerGas": 2 * fee,
        "maxPriorityFeePerGas": min(fee, rpc.number("eth_maxPriorityFeePerGas")),
    }
    cost = gas * 2 * fee
    if cost > _MAX_GAS_COST:
        raise ConfigError(
            f"the endpoint asks for up to {cost / 1e18:.3f} FIL of gas for one transaction; nothing was signed",
            hint=f"more than {_MAX_GAS_COST / 1e18:g} FIL is never paid: try later, or another endpoint first in rpc",
        )
    mark = printable(deployment.chain.send(sign(fields)), 66)
    end = time.monotonic() + _WAIT_S
    while (receipt := rpc.ask("eth_getTransactionReceipt", mark)) is None:
        if time.monotonic() > end:
            raise UnavailableError(f"the transaction {mark} was sent, and is not mined after {_WAIT_S:.0f} s")
        sleep(1.0)
    if not isinstance(receipt, dict) or receipt.get("status") != "0x1":
        raise WrongBytesError(f"the transaction {mark} failed on the chain: {step.words}")
    return mark


def _checksummed(address: str) -> str:
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))
