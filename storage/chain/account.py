"""What somebody has deposited for storage, what a service may spend of it (FilecoinPay), and who may sign for whom."""

from __future__ import annotations

from dataclasses import dataclass

from .abi import Function
from .agreed import Anchor, Chain
from .warm_storage import ServiceAddresses

_SETTLED = Function("getAccountInfoIfSettled", ("address", "address"), ("uint256",) * 4)
_APPROVAL = Function("operatorApprovals", ("address",) * 3, ("bool",) + ("uint256",) * 5)
_EXPIRY = Function("authorizationExpiry", ("address", "address", "bytes32"), ("uint256",))
_BALANCE = Function("balanceOf", ("address",), ("uint256",))
_ALLOWANCE = Function("allowance", ("address", "address"), ("uint256",))

APPROVE = Function("approve", ("address", "uint256"), ("bool",))
DEPOSIT = Function("deposit", ("address", "address", "uint256"))
APPROVE_OPERATOR = Function("setOperatorApproval", ("address", "address", "bool", "uint256", "uint256", "uint256"))


@dataclass(frozen=True, slots=True)
class Account:
    """In the token's smallest unit. `available`: deposited, and not locked. `rate`, `lockup`: what the service may
    still take: an epoch, and in all; both 0 where it is not approved.
    """

    available: int
    wallet: int
    allowance: int
    approved: bool
    rate: int
    lockup: int
    max_lockup_epochs: int


def account(chain: Chain, service: str, addresses: ServiceAddresses, owner: str, at: Anchor) -> Account:
    """Read it at an anchor. Raises as `Chain` does."""
    token, payments = addresses.token, addresses.payments
    available = _SETTLED.decode(chain.call(payments, _SETTLED.encode(token, owner), at))[2]
    wallet = _BALANCE.decode(chain.call(token, _BALANCE.encode(owner), at))[0]
    allowance = _ALLOWANCE.decode(chain.call(token, _ALLOWANCE.encode(owner, payments), at))[0]
    ok, rate, lockup, rate_used, lockup_used, period = _APPROVAL.decode(
        chain.call(payments, _APPROVAL.encode(token, owner, service), at)
    )
    rate_left, lockup_left = (max(0, rate - rate_used), max(0, lockup - lockup_used)) if ok else (0, 0)
    return Account(available, wallet, allowance, bool(ok), rate_left, lockup_left, period)


def session_until(chain: Chain, sessions: str, payer: str, signer: str, permission: bytes, at: Anchor) -> int:
    """Until when (seconds since 1970) `signer` may sign this kind of message for `payer`; 0: not at all."""
    data = _EXPIRY.encode(payer, signer, permission)
    return int(_EXPIRY.decode(chain.call(sessions, data, at))[0])
