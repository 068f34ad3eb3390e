"""`WarmStorage`: who pays for which data set, what it costs, which deadlines hold: FilecoinWarmStorageService (FWSS).

What it keeps is read through its view contract, whose address changes with versions and is asked for each time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..errors import OversizeError, SlowError
from .abi import Function, identifier
from .agreed import Anchor, Chain
from .rpc import RevertError

_VIEW = Function("viewContractAddress", (), ("address",))
_VERIFIER = Function("pdpVerifierAddress", (), ("address",))
_PAYMENTS = Function("paymentsContractAddress", (), ("address",))
_TOKEN = Function("usdfcTokenAddress", (), ("address",))
_REGISTRY = Function("serviceProviderRegistry", (), ("address",))
_SESSIONS = Function("sessionKeyRegistry", (), ("address",))

_SET = "(uint256,uint256,uint256,address,address,address,uint256,uint256,uint256,uint256,uint256)"
_GET_SET = Function("getDataSet", ("uint256",), (_SET,))
_CLIENT_SETS = Function("getClientDataSets", ("address", "uint256", "uint256"), (f"{_SET}[]",))
_METADATA = Function("getAllDataSetMetadata", ("uint256",), ("string[]", "string[]"))
_NONCE = Function("clientNonces", ("address", "uint256"), ("uint256",))
_CONFIG = Function("getPDPConfig", (), ("uint64", "uint256", "uint256", "uint256"))
_APPROVED = Function("getApprovedProviders", ("uint256", "uint256"), ("uint256[]",))
_DEADLINE = Function("provingDeadline", ("uint256",), ("uint256",))
_PROVEN = Function("provenThisPeriod", ("uint256",), ("bool",))
_ACTIVATION = Function("provingActivationEpoch", ("uint256",), ("uint256",))
_PRICES = Function(
    "getPriceList",
    (),
    (f"(address,({','.join(['uint256'] * 4)}),({','.join(['uint256'] * 5)}),({','.join(['uint256'] * 6)}))",),
)
_OLD_RATES = Function("getCurrentPricingRates", (), ("uint256", "uint256"))  # before 1.3: a price and a least price

EPOCHS_PER_MONTH = 86_400
_OLD_LOCKUP_EPOCHS = 86_400
_PAGE = 50
_MAX_PAGES_S = 600.0  # of all pages
_MAX_SETS = 5_000


@dataclass(frozen=True, slots=True)
class DataSetTerms:
    """A data set as its service knows it. `end_epoch`: 0 while it is paid for; its last epoch once it is ended."""

    number: int
    payer: str
    payee: str
    provider: str
    provider_id: int
    client_id: int
    end_epoch: int

    @classmethod
    def of(cls, found: tuple[Any, ...]) -> DataSetTerms:
        """Out of the contract's struct. Raises `WrongBytesError`."""
        _, _, _, payer, payee, provider, _, client_id, end, provider_id, number = found
        return cls(
            identifier(number, "a data set"), payer.lower(), payee.lower(), provider.lower(),
            identifier(provider_id, "a provider"), client_id, end,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Prices:
    """In the token's smallest unit (10^-18 USDFC). Storage and set: a month; the rest: once."""

    storage_tib_month: int
    set_month: int
    create: int
    add: int
    add_piece: int
    reserve: int
    lockup_epochs: int


@dataclass(frozen=True, slots=True)
class Proving:
    """When a data set has to be proven. `deadline`: the epoch by which the next proof is due; 0: none yet."""

    period: int
    window: int
    challenges: int
    deadline: int
    proven: bool
    activation: int


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """Of the contracts that belong to a service, lower case."""

    view: str
    verifier: str
    payments: str
    token: str
    registry: str
    sessions: str


class WarmStorage:
    """One deployment. Raises as `Chain` does."""

    def __init__(self, chain: Chain, address: str) -> None:
        self._chain, self.address = chain, address

    def addresses(self, at: Anchor) -> ServiceAddresses:
        """Of the contracts around it."""
        functions = (_VIEW, _VERIFIER, _PAYMENTS, _TOKEN, _REGISTRY, _SESSIONS)
        return ServiceAddresses(*(str(self._service(function, at)[0]).lower() for function in functions))

    def terms(self, number: int, at: Anchor) -> DataSetTerms:
        """Of one data set; all zeros for one that it does not know."""
        return DataSetTerms.of(self._view(_GET_SET, at, number)[0])

    def sets_of(self, payer: str, at: Anchor) -> list[DataSetTerms]:
        """All data sets that somebody pays for, or did. Raises `OversizeError` for more than 5,000."""
        found: list[DataSetTerms] = []
        end_s = time.monotonic() + _MAX_PAGES_S
        while True:
            if time.monotonic() > end_s:
                raise SlowError(f"the data sets of {payer} have not come in {_MAX_PAGES_S:.0f} s")
            (page,) = self._view(_CLIENT_SETS, at, payer, len(found), _PAGE)
            found += map(DataSetTerms.of, page)
            if len(found) > _MAX_SETS:
                raise OversizeError(f"{payer} has more than {_MAX_SETS} data sets")
            if len(page) < _PAGE:
                return found

    def approved(self, at: Anchor) -> frozenset[int] | None:
        """The providers that the service approves of, by their numbers; None where it keeps no such list."""
        try:
            (found,) = self._view(_APPROVED, at, 0, 0)  # 0: all of them
        except RevertError:
            return None
        return frozenset(found) or None

    def metadata(self, number: int, at: Anchor) -> dict[str, str]:
        """What its client wrote on it."""
        keys, values = self._view(_METADATA, at, number)
        return dict(zip(keys, values, strict=False))

    def used(self, payer: str, nonce: int, at: Anchor) -> tuple[int, int] | None:
        """What was done on the message that the payer signed with this nonce, which can be used once: the data set and,
        where pieces were added, the piece id behind the last of them; None while it was not used.
        """
        (found,) = self._view(_NONCE, at, payer, nonce)
        return None if found == 0 else (identifier(found & (1 << 128) - 1, "a data set"), found >> 128)

    def proving(self, number: int, at: Anchor) -> Proving:
        """Of one data set."""
        period, window, challenges, _ = self._view(_CONFIG, at)
        return Proving(
            period, window, challenges, self._view(_DEADLINE, at, number)[0], self._view(_PROVEN, at, number)[0],
            self._view(_ACTIVATION, at, number)[0],
        )  # fmt: skip

    def period(self, at: Anchor) -> int:
        """Epochs between two proofs."""
        return int(self._view(_CONFIG, at)[0])

    def prices(self, at: Anchor) -> Prices:
        """What is asked for now; of a service before 1.3 the fees are 0, which it did not have."""
        try:
            _, rates, fees, lockups = self._view(_PRICES, at)[0]
        except RevertError:
            storage, least = self._view(_OLD_RATES, at)
            return Prices(storage, least, 0, 0, 0, 0, _OLD_LOCKUP_EPOCHS)
        return Prices(rates[0], rates[1], fees[0], fees[1], fees[2], lockups[0], lockups[2])

    def _service(self, function: Function, at: Anchor, *values: object) -> tuple[Any, ...]:
        return function.decode(self._chain.call(self.address, function.encode(*values), at))

    def _view(self, function: Function, at: Anchor, *values: object) -> tuple[Any, ...]:
        view = str(self._service(_VIEW, at)[0])
        return function.decode(self._chain.call(view, function.encode(*values), at))
