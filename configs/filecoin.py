"""`Filecoin`: how a user pays for storage on Filecoin, or audits it there: the `[filecoin]` table of a roster."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from .fields import path, variable

MAX_RPCS = 5
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_TOKEN_DIGITS = 18  # of USDFC


class Filecoin(BaseModel):
    """The chain, who reads it, who pays, and how much at most. The key itself is never held here.

    `ceiling`: USDFC (USD) that one call may cost: the first month and all fees of what it adds, over all copies. None:
    nothing is paid for. `copies`: providers in all: those of kind filecoin in the roster, then the cheapest of the
    registry. `payer`: who pays, where the key is a session key. `max_price`: USDFC a TiB and month that a chosen
    provider may name. `location`: what a chosen provider's must hold. `confirmations`: blocks behind the head at which
    the chain counts as settled. `source`: what the data sets are marked with; others of the same payer are left alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    network: Literal["mainnet", "calibration", "devnet"]
    rpc: tuple[str, ...]
    key_env: str | None = None
    key_file: Path | None = None
    payer: str | None = None
    ceiling: int | None = None
    copies: int = Field(default=2, ge=1, le=10)
    max_price: int | None = None
    location: str = ""
    confirmations: int = Field(default=10, ge=0, le=900)
    source: str = Field(default="holdfast", min_length=1, max_length=64)
    chain_id: int | None = None
    service: str | None = None
    verifier: str | None = None

    @field_validator("rpc", mode="before")
    @classmethod
    def _rpcs(cls, value: object) -> object:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_RPCS:
            raise ValueError(f"expected a list of 1 to {MAX_RPCS} URLs of Eth JSON-RPC endpoints; two are compared")
        if not all(isinstance(one, str) and one.startswith(("http://", "https://")) for one in value):
            raise ValueError("expected URLs that begin with http:// or https://")
        if len(set(value)) != len(value):
            raise ValueError("expected different endpoints, got one twice")
        return tuple(value)

    @field_validator("key_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        return variable(value)

    @field_validator("key_file", mode="before")
    @classmethod
    def _file(cls, value: object, info: ValidationInfo) -> object:
        return path(value, info)

    @field_validator("ceiling", "max_price", mode="before")
    @classmethod
    def _amount(cls, value: object) -> object:
        return None if value is None else parse_usdfc(value)

    @field_validator("payer", "service", "verifier")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError("expected an address: 0x and 40 hexadecimal digits")
        return None if value is None else value.lower()

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("expected key_env or key_file, got both")
        own = (self.chain_id, self.service, self.verifier)
        if self.network == "devnet" and None in own:
            raise ValueError("expected chain_id, service and verifier, which a devnet needs")
        if self.network != "devnet" and own != (None, None, None):
            raise ValueError(f"expected no addresses of contracts: those of {self.network} are known")
        return self


def parse_usdfc(value: object) -> int:
    """An amount such as "2.50" in the smallest unit, 10^-18 USDFC. Raises `ValueError`."""
    try:
        amount = Decimal(value) if isinstance(value, str) and len(value) <= 40 else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0 or amount > 10**9:
        raise ValueError('expected an amount of USDFC in quotes, such as "2.50"')
    scaled = amount.scaleb(_TOKEN_DIGITS)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"expected at most {_TOKEN_DIGITS} digits behind the point")
    return int(scaled)


def format_usdfc(amount: int) -> str:
    """For people: to 6 digits behind the point, rounded up, so that nothing looks cheaper than it is."""
    digits = 10 ** (_TOKEN_DIGITS - 6)
    micro = -(-amount // digits)
    return f"{micro // 10**6}.{micro % 10**6:06d} USDFC"
