"""Calls and events by their signatures: encoded and decoded by eth-abi, strictly. Errors name the contract's function.

Only the fragments that are used are written down, one line each, where they are used: the contracts change several
times a year, and what is not named cannot break.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, WrongBytesError

_HINT = "pip install 'holdfast[filecoin]'"


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash, which is not SHA-3's. Raises `ConfigError` without the extra."""
    try:
        from eth_utils.crypto import keccak
    except ImportError as error:
        raise ConfigError("Filecoin's chain needs the extra `filecoin`", hint=_HINT) from error
    return bytes(keccak(data))


def encode(types: Sequence[str], values: Sequence[object]) -> bytes:
    """abi.encode. Raises `ConfigError` without the extra; `ValueError` for values that are not of these types."""
    try:
        from eth_abi.abi import encode as run
        from eth_abi.exceptions import EncodingError
    except ImportError as error:
        raise ConfigError("Filecoin's chain needs the extra `filecoin`", hint=_HINT) from error
    try:
        return bytes(run(types, values))
    except EncodingError as error:
        raise ValueError(str(error)) from error


def decode(types: Sequence[str], data: bytes, what: str) -> tuple[Any, ...]:
    """abi.decode. Raises `WrongBytesError` that names `what`. Memory: a small multiple of `data`."""
    try:
        from eth_abi.abi import decode as run
        from eth_abi.exceptions import DecodingError
    except ImportError as error:
        raise ConfigError("Filecoin's chain needs the extra `filecoin`", hint=_HINT) from error
    try:
        return tuple(run(types, data))
    except (DecodingError, OverflowError, UnicodeDecodeError) as error:
        raise WrongBytesError(f"{what}: the answer is not of its type: {type(error).__name__}") from error


def identifier(value: int, what: str) -> int:
    """A number that a contract counts things by, which a database can hold. Raises `WrongBytesError`."""
    if value >= 1 << 62:
        raise WrongBytesError(f"{what} is said to be {value}: no contract has counted so far")
    return value


@dataclass(frozen=True, slots=True)
class Function:
    """A contract's function: `Function("dataSetLive", ("uint256",), ("bool",))`."""

    name: str
    takes: tuple[str, ...]
    gives: tuple[str, ...] = ()

    @property
    def signature(self) -> str:
        """What is hashed for its selector."""
        return f"{self.name}({','.join(self.takes)})"

    def encode(self, *values: object) -> bytes:
        """Call data."""
        return keccak256(self.signature.encode())[:4] + encode(self.takes, values)

    def decode(self, data: bytes) -> tuple[Any, ...]:
        """What it gave back. Raises `WrongBytesError`; also for nothing, which an address without a contract gives."""
        if not data and self.gives:
            raise WrongBytesError(f"{self.name}: an empty answer: there is no such contract at this address")
        return decode(self.gives, data, self.name)


@dataclass(frozen=True, slots=True)
class Event:
    """A contract's event; `indexed` come as topics, `data` in its data."""

    name: str
    indexed: tuple[str, ...]
    data: tuple[str, ...]

    @property
    def topic(self) -> bytes:
        """The first topic. All events here have their indexed values first."""
        return keccak256(f"{self.name}({','.join((*self.indexed, *self.data))})".encode())


def hexadecimal(value: int | bytes) -> str:
    """A topic: 32 bytes."""
    return "0x" + (value.to_bytes(32, "big") if isinstance(value, int) else value).hex()
