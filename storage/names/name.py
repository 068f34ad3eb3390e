"""`Name`: what a signed pointer is called: the public key of whoever may move it.

Specification: specs.ipfs.tech/ipns/ipns-record, "IPNS Name"; libp2p/specs, peer-ids. We make and read names of
Ed25519 keys, which hold the key itself, so that a record is checked with nothing else at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cid import CID, IDENTITY, LIBP2P_KEY
from ..errors import ConfigError, FormatError
from ..multibase import BASE36, BASE58, from_digits, to_digits

PUBLIC_KEY_BYTES = 32
_PUBLIC_KEY = b"\x08\x01\x12\x20"  # protobuf PublicKey {Type: 1 (Ed25519), Data: 32 bytes …}
_MULTIHASH = b"\x00\x24" + _PUBLIC_KEY
_MAX_CHARS = 200
_HINT = "a name looks like k51…; `holdfast key ls` shows yours"


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """An Ed25519 public key, 32 bytes. Its text is a CIDv1 (libp2p-key) in base36: `k51…`."""

    public_key: bytes

    @classmethod
    def parse(cls, text: str) -> Name:
        """Read `k51…`, the same CID in another base, or a peer id (`12D3Koo…`). Raises `ConfigError`."""
        if not text or len(text) > _MAX_CHARS:
            raise ConfigError(f"not a name: {text[:80]!r}", hint=_HINT)
        try:
            if text[0] == "1":
                return cls.from_multihash(from_digits(text, BASE58))
            cid = CID.parse(text)
        except (ValueError, FormatError) as error:
            said = error.message if isinstance(error, FormatError) else error
            raise ConfigError(f"not a name: {text[:80]!r} ({said})", hint=_HINT) from error
        if cid.version == 0:
            return cls.from_multihash(cid.multihash)  # an old peer id; raises, for it is a hash
        if cid.codec != LIBP2P_KEY:
            raise ConfigError(f"{text} is the CID of a block, not a name", hint="give ipfs://CID, or a name: k51…")
        return cls.from_multihash(cid.multihash)

    @classmethod
    def from_multihash(cls, multihash: bytes) -> Name:
        """The name whose identity multihash this is. Raises `ConfigError` for a key that we cannot check."""
        if not multihash.startswith(_MULTIHASH) or len(multihash) != len(_MULTIHASH) + PUBLIC_KEY_BYTES:
            kind = "another kind" if multihash[:1] == bytes([IDENTITY]) else "a kind too long for its name (RSA)"
            raise ConfigError(f"the name is of a key of {kind}", hint="only names of Ed25519 keys (k51…) are read")
        return cls(multihash[len(_MULTIHASH) :])

    @property
    def cid(self) -> CID:
        """The name as a CID."""
        return CID(1, LIBP2P_KEY, _MULTIHASH + self.public_key)

    @property
    def peer_id(self) -> str:
        """The name of a peer of this key as libp2p writes it: `12D3Koo…`."""
        return to_digits(_MULTIHASH + self.public_key, BASE58)

    @property
    def framed_key(self) -> bytes:
        """The public key as libp2p frames it: what a record may carry in its field `pubKey`."""
        return _PUBLIC_KEY + self.public_key

    def __str__(self) -> str:
        return "k" + to_digits(bytes(self.cid), BASE36)

    def short(self) -> str:
        """The form for messages."""
        text = str(self)
        return f"{text[:4]}…{text[-8:]}"
