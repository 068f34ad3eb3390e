"""CIDs: self-describing hashes of blocks.

Specification: multiformats/cid. We write CIDv1 with sha2-256 in base32; we read v0, base58btc and base36 too, and
the hashes of `HASHES`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from .errors import FormatError, HashMismatchError, UnsupportedError
from .limits import MAX_CID_BYTES, MAX_DIGEST_BYTES, MAX_IDENTITY_BYTES, MIN_DIGEST_BYTES
from .multibase import BASE36, BASE58, from_digits, to_digits
from .varint import read_uvarint, uvarint

RAW = 0x55
DAG_PB = 0x70
DAG_CBOR = 0x71
LIBP2P_KEY = 0x72
CODECS = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor", LIBP2P_KEY: "libp2p-key"}

IDENTITY = 0x00
SHA2_256 = 0x12
SHA2_512 = 0x13
BLAKE3 = 0x1E
HASHES: dict[int, tuple[str, Callable[[bytes | memoryview], Any], int]] = {
    SHA2_256: ("sha2-256", hashlib.sha256, 32),
    SHA2_512: ("sha2-512", hashlib.sha512, 64),
    BLAKE3: ("blake3", blake3, 32),
}

SHA2_256_PREFIX = b"\x12\x20"


@dataclass(frozen=True, slots=True, order=True)
class CID:
    """A parsed CID. `multihash` is the whole multihash: code, length, digest."""

    version: int
    codec: int
    multihash: bytes

    @classmethod
    def of(cls, codec: int, data: bytes | memoryview) -> CID:
        """The CIDv1 of `data` under `codec`, by sha2-256."""
        return cls(1, codec, SHA2_256_PREFIX + hashlib.sha256(data).digest())

    @classmethod
    def raw(cls, digest: bytes) -> CID:
        """The CIDv1 of a raw block whose sha2-256 digest (32 bytes) is known."""
        if len(digest) != 32:
            raise ValueError(f"a sha2-256 digest has 32 bytes, not {len(digest)}")
        return cls(1, RAW, SHA2_256_PREFIX + digest)

    @classmethod
    def parse(cls, text: str) -> CID:
        """Read a CID from text. Raises `FormatError` for anything else than one CID."""
        if not text or len(text) > 2 * MAX_CID_BYTES:
            raise FormatError(f"not a CID: {text[:80]!r}", hint="a CID looks like bafy… or Qm…")
        try:
            if len(text) == 46 and text.startswith("Qm"):
                return cls.from_bytes(from_digits(text, BASE58))
            match text[0]:
                case "b" | "B":
                    body = text[1:].upper()
                    if "=" in body:
                        raise ValueError("padding")
                    data = base64.b32decode(body + "=" * (-len(body) % 8))
                    if base64.b32encode(data).decode().rstrip("=") != body:
                        raise ValueError("not canonical base32")
                case "z":
                    data = from_digits(text[1:], BASE58)
                case "k":
                    data = from_digits(text[1:], BASE36)
                case "f":
                    data = bytes.fromhex(text[1:])
                case _:
                    raise ValueError("unknown multibase prefix")
        except (ValueError, binascii.Error) as error:
            raise FormatError(f"not a CID: {text[:80]!r} ({error})", hint="a CID looks like bafy… or Qm…") from error
        return cls.from_bytes(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> CID:
        """Read a binary CID that fills `data` exactly."""
        cid, end = cls.read(data, 0)
        if end != len(data):
            raise FormatError(f"{len(data) - end} bytes follow a CID of {end} bytes")
        return cid

    @classmethod
    def read(cls, data: bytes | memoryview, start: int) -> tuple[CID, int]:
        """Read a binary CID at `start`; returns it and the offset behind it."""
        if bytes(data[start : start + 2]) == SHA2_256_PREFIX:
            end = start + 34
            if len(data) < end:
                raise FormatError("a CIDv0 ends early")
            return cls(0, DAG_PB, bytes(data[start:end])), end
        version, at = read_uvarint(data, start)
        if version != 1:
            raise UnsupportedError(f"CID version {version}: only 0 and 1 are known")
        codec, at = read_uvarint(data, at)
        code, body = read_uvarint(data, at)
        length, body = read_uvarint(data, body)
        end = body + length
        if code == IDENTITY:
            if length > MAX_IDENTITY_BYTES:
                raise FormatError(f"an identity CID of {length} bytes (at most {MAX_IDENTITY_BYTES}: IPIP-0512)")
        elif not MIN_DIGEST_BYTES <= length <= MAX_DIGEST_BYTES:
            raise FormatError(f"a digest of {length} bytes ({MIN_DIGEST_BYTES} to {MAX_DIGEST_BYTES} are allowed)")
        if len(data) < end:
            raise FormatError("a CID ends early")
        return cls(1, codec, bytes(data[at:end])), end

    def __bytes__(self) -> bytes:
        if self.version == 0:
            return self.multihash
        return uvarint(self.version) + uvarint(self.codec) + self.multihash

    def __str__(self) -> str:
        if self.version == 0:
            return to_digits(self.multihash, BASE58)
        return "b" + base64.b32encode(bytes(self)).decode().lower().rstrip("=")

    def short(self) -> str:
        """The form for messages: its last eight characters are what differs."""
        text = str(self)
        return f"{text[:4]}…{text[-8:]}"

    @property
    def hash_code(self) -> int:
        """The multihash code (0x12: sha2-256, 0x00: identity)."""
        return read_uvarint(self.multihash, 0)[0]

    @property
    def digest(self) -> bytes:
        """The digest inside the multihash; for an identity CID, the data itself."""
        _, at = read_uvarint(self.multihash, 0)
        _, at = read_uvarint(self.multihash, at)
        return self.multihash[at:]

    def v1(self) -> CID:
        """The same block named by a CIDv1."""
        return self if self.version == 1 else CID(1, self.codec, self.multihash)

    def matches(self, data: bytes | memoryview) -> bool:
        """Whether `data` hashes to this CID. Raises `UnsupportedError` for a hash that we cannot compute."""
        if self.multihash[:2] == SHA2_256_PREFIX:
            return hashlib.sha256(data).digest() == self.multihash[2:]
        code = self.hash_code
        if code == IDENTITY:
            return bytes(data) == self.digest
        if code not in HASHES:
            raise UnsupportedError(f"multihash 0x{code:x} of {self.short()} is not one that holdfast computes")
        _, make, length = HASHES[code]
        return len(self.digest) == length and make(data).digest() == self.digest

    def verify(self, data: bytes | memoryview) -> None:
        """Raise `HashMismatchError` unless `data` hashes to this CID."""
        if not self.matches(data):
            got = CID.of(self.codec, data)
            raise HashMismatchError(f"{len(data)} bytes hash to {got.short()}, expected {self.short()}")
