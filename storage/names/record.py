"""`Record`: one signed statement of where a name points, from when on it counts and how long.

Specification: specs.ipfs.tech/ipns/ipns-record. The signed part is a dag-cbor map (V2); its values stand once more
as protobuf fields with a signature of their own (V1), which old readers want and nobody needs to believe. Keys that
begin with `_` are others' business, or ours: `_parent` is the version before, `_published` when it was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ..dag import dagcbor
from ..dag.dagcbor import Value
from ..dag.protobuf import BYTES, VARINT, bytes_field, fields, varint_field
from ..errors import ConfigError, FormatError, SignatureError
from ..uri import DatasetUri
from .key import PrivateKey, is_signed
from .moment import S, format_moment, parse_moment
from .name import Name

T = TypeVar("T", int, bytes)
MAX_RECORD_BYTES = 10 << 10  # specification, "Record Size Limit"
DEFAULT_TTL_NS = 5 * 60 * S
PARENT, PUBLISHED = "_parent", "_published"

_VALUE, _SIGNATURE_V1, _VALIDITY_TYPE, _VALIDITY, _SEQUENCE, _TTL, _PUBLIC_KEY, _SIGNATURE_V2, _DATA = range(1, 10)
_KINDS = {
    _VALUE: BYTES, _SIGNATURE_V1: BYTES, _VALIDITY_TYPE: VARINT, _VALIDITY: BYTES, _SEQUENCE: VARINT, _TTL: VARINT,
    _PUBLIC_KEY: BYTES, _SIGNATURE_V2: BYTES, _DATA: BYTES,
}  # fmt: skip
_SIGNED = b"ipns-signature:"
_EOL = 0  # the only validity type
_WORD = 1 << 64
_MAX_SEQUENCE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose signature holds; whether it still counts depends on the clock, see `choice`.

    `value`: a content path, as a rule `/ipfs/CID`. `validity_ns`: nanoseconds since 1970 of its end. `ttl_ns`: how
    long a reader need not ask again. `extra`: the signed values of other keys. `data`: the record as it travels.
    """

    name: Name
    value: str
    sequence: int
    validity_ns: int
    ttl_ns: int
    extra: Mapping[str, Value] = field(hash=False)
    data: bytes = field(repr=False)

    @property
    def uri(self) -> DatasetUri:
        """What it points at. Raises `ConfigError` where that is no dataset, but another name or a peer."""
        return DatasetUri.parse(self.value)

    @property
    def parent(self) -> str | None:
        """The content path of the version before, if the publisher said so."""
        found = self.extra.get(PARENT)
        return found if isinstance(found, str) else None

    @property
    def published_ns(self) -> int | None:
        """When it was signed, nanoseconds since 1970, if the publisher said so."""
        found = self.extra.get(PUBLISHED)
        try:
            return parse_moment(found) if isinstance(found, str) else None
        except FormatError:
            return None


def read_record(name: Name, data: bytes) -> Record:
    """Check everything but the clock, in the order of the specification ("Record Verification").

    Raises `FormatError` for bytes that are no record and for one without the V2 signature, `SignatureError` where
    the key of `name` did not sign it, or where its V1 fields say something else than was signed.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise FormatError(f"an IPNS record of {len(data)} bytes (at most {MAX_RECORD_BYTES})")
    found = _fields(data)
    signature, signed = found.get(_SIGNATURE_V2), found.get(_DATA)
    if not isinstance(signature, bytes) or not isinstance(signed, bytes) or not signature or not signed:
        raise FormatError("an IPNS record without a V2 signature", hint="its publisher's program is older than 2021")
    if found.get(_PUBLIC_KEY, name.framed_key) != name.framed_key:
        raise SignatureError(f"the record of {name.short()} carries another key")
    if not is_signed(name, _SIGNED + signed, signature):
        raise SignatureError(f"the record is not signed by the key of {name.short()}")
    record, mirrored = _signed_values(name, signed, data)
    if found.get(_SIGNATURE_V1) or found.get(_VALUE):
        for number, expected in mirrored.items():
            absent = b"" if _KINDS[number] == BYTES else 0
            if found.get(number, absent) != expected:
                raise SignatureError(f"field {number} of the record of {name.short()} is not what was signed")
    return record


def sign_record(
    key: PrivateKey,
    value: str,
    *,
    sequence: int,
    validity_ns: int,
    ttl_ns: int = DEFAULT_TTL_NS,
    extra: Mapping[str, Value] | None = None,
    with_v1: bool = True,
) -> Record:
    """A new record, byte for byte what Kubo would make of the same values (it has no `extra`).

    Raises `ConfigError` where the values make no record: a sequence beyond 64 bits, a path too long.
    """
    extra = dict(extra or {})
    if bad := [name for name in extra if not name.startswith("_")]:
        raise ValueError(f"extra keys begin with an underscore, {bad[0]!r} does not")
    if not 0 <= sequence <= _MAX_SEQUENCE:
        raise ConfigError(f"the sequence {sequence} does not fit 64 bits", hint="the name is used up: make another")
    path, validity = value.encode(), format_moment(validity_ns).encode()
    signed = dagcbor.encode(
        {"Value": path, "Validity": validity, "ValidityType": _EOL, "Sequence": sequence, "TTL": ttl_ns, **extra}
    )
    old = b"" if not with_v1 else b"".join((
        bytes_field(_VALUE, path),
        bytes_field(_SIGNATURE_V1, key.sign(path + validity + b"EOL")),
        varint_field(_VALIDITY_TYPE, _EOL),
        bytes_field(_VALIDITY, validity),
        varint_field(_SEQUENCE, _wire(sequence)),
        varint_field(_TTL, ttl_ns),
    ))  # fmt: skip
    data = old + bytes_field(_SIGNATURE_V2, key.sign(_SIGNED + signed)) + bytes_field(_DATA, signed)
    if len(data) > MAX_RECORD_BYTES:
        raise ConfigError(f"the record would have {len(data)} bytes (at most {MAX_RECORD_BYTES})")
    return read_record(key.name, data)


def _fields(data: bytes) -> dict[int, int | bytes]:
    """Known fields; of one that is there twice the last, as protobuf has it."""
    found: dict[int, int | bytes] = {}
    for number, wire, value in fields(data):
        if number in _KINDS:
            if wire != _KINDS[number]:
                raise FormatError(f"field {number} of an IPNS record has the wire type {wire}")
            found[number] = value
    return found


def _signed_values(name: Name, signed: bytes, data: bytes) -> tuple[Record, dict[int, int | bytes]]:
    values = dagcbor.decode(signed)
    if not isinstance(values, dict):
        raise FormatError("the signed part of an IPNS record is not a map")
    path, validity = _typed(values, "Value", bytes), _typed(values, "Validity", bytes)
    sequence, ttl, kind = (_typed(values, key, int) for key in ("Sequence", "TTL", "ValidityType"))
    if kind != _EOL or sequence < 0 or ttl < 0:
        raise FormatError(f"an IPNS record of validity type {kind}, sequence {sequence}, TTL {ttl}")
    try:
        value, until = path.decode(), parse_moment(validity.decode())
    except UnicodeDecodeError as error:
        raise FormatError("the value or the validity of an IPNS record is not text") from error
    extra = {key: item for key, item in values.items() if key.startswith("_")}
    mirrored: dict[int, int | bytes] = {
        _VALUE: path, _VALIDITY_TYPE: kind, _VALIDITY: validity, _SEQUENCE: _wire(sequence), _TTL: ttl
    }  # fmt: skip
    return Record(name, value, sequence, until, ttl, extra, data), mirrored


def _typed(values: dict[str, Value], key: str, kind: type[T]) -> T:
    found = values.get(key)
    if isinstance(found, bool) or not isinstance(found, kind):
        raise FormatError(f"{key!r} of an IPNS record is missing, or of another type")
    return found


def _wire(sequence: int) -> int:
    """As `protobuf` reads and writes 64 bits: signed."""
    return sequence - _WORD if sequence >= _WORD >> 1 else sequence
