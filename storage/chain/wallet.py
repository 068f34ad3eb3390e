"""`Wallet`: a private key that signs. It is read from where the user says, held in memory, and never shown."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ConfigError

_KEY = re.compile(r"(0x)?[0-9a-fA-F]{64}", re.ASCII)
_MAX_FILE_BYTES = 4096


class Wallet:
    """A secp256k1 key. Printing it shows its address."""

    def __init__(self, account: Any) -> None:
        self._account = account

    @classmethod
    def of(cls, key: str, origin: str) -> Wallet:
        """From 64 hexadecimal digits. Raises `ConfigError` that names `origin` and nothing of the key."""
        depth = sys.getrecursionlimit()
        try:
            from eth_account import Account
        except ImportError as error:
            raise ConfigError(
                "signing for Filecoin needs the extra `filecoin`", hint="pip install 'holdfast[filecoin]'"
            ) from error
        finally:
            # py_ecc, which comes with it, allows 100,000 calls: then JSON that lies deep ends the process, not the call
            sys.setrecursionlimit(depth)
        if not _KEY.fullmatch(key.strip()):
            raise ConfigError(f"{origin}: expected a private key: 64 hexadecimal digits")
        try:
            return cls(Account.from_key(key.strip()))
        except Exception:  # noqa: BLE001 - whatever eth-keys says may hold the key
            raise ConfigError(f"{origin}: this is no private key of secp256k1") from None

    @classmethod
    def from_environment(cls, variable: str, env: Mapping[str, str]) -> Wallet:
        """From a variable. Raises `ConfigError`."""
        if not env.get(variable, "").strip():
            raise ConfigError(f"the environment variable {variable} is not set", hint=f"export {variable}=0x…")
        return cls.of(env[variable], variable)

    @classmethod
    def from_file(cls, path: Path) -> Wallet:
        """From a file that only its owner can read. Raises `ConfigError`."""
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES)
            mode = path.stat().st_mode
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check key_file") from error
        if mode & 0o077:
            raise ConfigError(f"{path}: others can read this private key", hint=f"chmod 600 {path}")
        return cls.of(data.decode("ascii", "replace"), str(path))

    @property
    def address(self) -> str:
        """0x and 40 digits, lower case."""
        return str(self._account.address).lower()

    def sign(self, domain: Mapping[str, Any], types: Mapping[str, Any], message: Mapping[str, Any]) -> bytes:
        """EIP-712: 65 bytes."""
        return bytes(self._account.sign_typed_data(domain, types, message).signature)

    def transaction(self, fields: Mapping[str, Any]) -> bytes:
        """A transaction, signed and serialised."""
        return bytes(self._account.sign_transaction(dict(fields)).raw_transaction)

    def __repr__(self) -> str:
        return f"<Wallet {self.address}>"
