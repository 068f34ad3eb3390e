"""`PrivateKey`: the Ed25519 key that moves a name, and its two file forms.

PEM (PKCS #8, RFC 8410), with a passphrase or without; and the protobuf that `ipfs key export` writes by default
(libp2p/specs, peer-ids, "Keys"): {Type: 1, Data: 32 bytes of seed, 32 of public key}.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import ConfigError
from .name import PUBLIC_KEY_BYTES, Name

MAX_KEY_BYTES = 16 << 10
SEED_BYTES = 32
_LIBP2P = b"\x08\x01\x12\x40"
_HINT = "give a PEM file, or what `ipfs key export` wrote"


class PrivateKey:
    """Signs records of its `name`. Never printed: `repr` shows the name only."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def of_seed(cls, seed: bytes) -> PrivateKey:
        """The key that RFC 8032 makes of 32 secret bytes."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def parse(cls, data: bytes, passphrase: bytes | None = None) -> PrivateKey:
        """Read either form. Raises `ConfigError`, which shows nothing of the key or the passphrase."""
        if len(data) > MAX_KEY_BYTES:
            raise ConfigError(f"a key file of more than {MAX_KEY_BYTES} bytes", hint=_HINT)
        if data.startswith(_LIBP2P):
            return cls._libp2p(data[len(_LIBP2P) :])
        try:
            key = serialization.load_pem_private_key(data, passphrase)
        except TypeError as error:  # cryptography's word for both
            if passphrase is None:
                raise ConfigError("the key has a passphrase", hint="give --passphrase-file") from error
            raise ConfigError("the key has no passphrase, and one was given", hint="leave it out") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            what = "the passphrase is wrong, or the key is damaged" if b"ENCRYPTED" in data else "not a private key"
            raise ConfigError(what, hint=_HINT) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError("the key is not of Ed25519, as names of holdfast are", hint="holdfast key gen NAME")
        return cls(key)

    @classmethod
    def _libp2p(cls, data: bytes) -> PrivateKey:
        # 64 bytes; old programs wrote the public key twice.
        if len(data) not in (SEED_BYTES + PUBLIC_KEY_BYTES, SEED_BYTES + 2 * PUBLIC_KEY_BYTES):
            raise ConfigError("the key file is damaged: its length is wrong", hint=_HINT)
        key = cls.of_seed(data[:SEED_BYTES])
        if data[SEED_BYTES : SEED_BYTES + PUBLIC_KEY_BYTES] != key.name.public_key:
            raise ConfigError("the key file is damaged: its halves do not belong together", hint=_HINT)
        return key

    def __repr__(self) -> str:
        return f"<PrivateKey of {self.name}>"

    @property
    def name(self) -> Name:
        """What this key may move."""
        return Name(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes; the same for the same data (RFC 8032)."""
        return self._key.sign(data)

    def to_pem(self, passphrase: bytes | None = None) -> bytes:
        """PKCS #8 in PEM, encrypted if there is a passphrase."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
        )

    def to_libp2p(self) -> bytes:
        """What `ipfs key import` reads by default."""
        return _LIBP2P + self._key.private_bytes_raw() + self.name.public_key


def is_signed(name: Name, data: bytes, signature: bytes) -> bool:
    """Whether the key of `name` signed `data`."""
    try:
        Ed25519PublicKey.from_public_bytes(name.public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True
