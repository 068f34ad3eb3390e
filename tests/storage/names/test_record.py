"""IPNS records: the published vectors, our own, and what forgers try."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag import dagcbor
from holdfast.storage.dag.protobuf import bytes_field, varint_field
from holdfast.storage.errors import ConfigError, FormatError, HoldfastError, SignatureError
from holdfast.storage.names.key import PrivateKey
from holdfast.storage.names.moment import S, format_moment, parse_moment
from holdfast.storage.names.name import Name
from holdfast.storage.names.record import MAX_RECORD_BYTES, Record, read_record, sign_record

NOW = 1_790_000_000 * S
KEY = PrivateKey.generate()
ROOT = CID.of(RAW, b"root")
VECTORS = {
    entry["kind"]: (Name.parse(entry["name"]), bytes.fromhex(entry["hex"]))
    for entry in json.loads((Path(__file__).parents[2] / "vectors/ipns.json").read_text())["vectors"]
}
GOOD = ("v2", "v1-v2", "v1-v2-broken-signature-v1")  # a V1 signature proves nothing, and is not looked at
BAD = {"v1": FormatError, "v1-v2-broken-signature-v2": SignatureError, "v1-v2-broken-v1-value": SignatureError}


def signed(key: PrivateKey = KEY, **more: object) -> Record:
    return sign_record(key, f"/ipfs/{ROOT}", **({"sequence": 7, "validity_ns": NOW} | more))  # type: ignore[arg-type]


def forged(key: PrivateKey, values: dict[str, dagcbor.Value]) -> bytes:
    """A well signed map of any values, without V1 fields."""
    data = dagcbor.encode(values)
    return bytes_field(8, key.sign(b"ipns-signature:" + data)) + bytes_field(9, data)


MAP: dict[str, dagcbor.Value] = {
    "Value": b"/ipfs/x", "Validity": format_moment(NOW).encode(), "ValidityType": 0, "Sequence": 1, "TTL": 1,
}  # fmt: skip


def test_every_vector_is_judged_as_its_kind_says() -> None:
    assert {*GOOD, *BAD} == set(VECTORS)
    for kind in GOOD:
        record = read_record(*VECTORS[kind])
        assert record.value.startswith("/ipfs/bafkqa")
        assert (record.sequence, record.extra) == (0, {})
        assert format_moment(record.validity_ns) == "2123-08-14T12:17:03.694052Z"
        assert record.ttl_ns == 1800 * S
    for kind, error in BAD.items():
        with pytest.raises(error):
            read_record(*VECTORS[kind])


def test_a_vector_under_another_name_is_not_signed_by_it() -> None:
    with pytest.raises(SignatureError, match="not signed by the key"):
        read_record(VECTORS["v2"][0], VECTORS["v1-v2"][1])


def test_our_own_record_reads_back() -> None:
    for with_v1 in (False, True):
        record = signed(with_v1=with_v1, extra={"_parent": "/ipfs/before", "_published": format_moment(NOW - S)})
        assert read_record(KEY.name, record.data) == record
        assert (record.uri.root, record.sequence, record.validity_ns) == (ROOT, 7, NOW)
        assert (record.parent, record.published_ns) == ("/ipfs/before", NOW - S)


def test_one_flipped_bit_is_noticed_wherever_it_matters() -> None:
    """All bits of a whole record: it is refused, or says exactly what it said (in the V1 signature)."""
    record = signed(extra={"_parent": "/ipfs/x"})
    unnoticed = 0
    for at in range(8 * len(record.data)):
        wrong = bytearray(record.data)
        wrong[at // 8] ^= 1 << at % 8
        try:
            found = read_record(KEY.name, bytes(wrong))
        except HoldfastError:
            continue
        unnoticed += 1
        assert (found.value, found.sequence, found.validity_ns, found.ttl_ns, found.extra) == (
            record.value, record.sequence, record.validity_ns, record.ttl_ns, record.extra,
        )  # fmt: skip
    assert unnoticed <= 8 * 66, "no more than the V1 signature and its tag"


def test_every_cut_is_refused() -> None:
    data = signed().data
    for length in range(len(data)):
        with pytest.raises(HoldfastError):
            read_record(KEY.name, data[:length])


@pytest.mark.parametrize(
    ("field", "value"), [(1, b"/ipfs/other"), (4, b"2123-08-14T12:17:03Z"), (5, 8), (6, 1), (3, 1)]
)
def test_v1_fields_that_say_something_else_are_refused(field: int, value: bytes | int) -> None:
    extra = bytes_field(field, value) if isinstance(value, bytes) else varint_field(field, value)
    with pytest.raises(SignatureError, match=f"field {field}"):
        read_record(KEY.name, signed().data + extra)  # the last of a field counts


def test_a_key_in_the_record_must_be_that_of_the_name() -> None:
    own, other = signed().data, PrivateKey.generate()
    assert read_record(KEY.name, own + bytes_field(7, KEY.name.framed_key)).sequence == 7
    with pytest.raises(SignatureError, match="another key"):
        read_record(KEY.name, own + bytes_field(7, other.name.framed_key))
    theirs = signed(other).data + bytes_field(7, other.name.framed_key)
    with pytest.raises(SignatureError):
        read_record(KEY.name, theirs)


@pytest.mark.parametrize(
    "change",
    [
        {"Value": "text"}, {"Value": b"\xff"}, {"Value": None}, {"Validity": b"tomorrow"}, {"Validity": b"\xff"},
        {"Validity": b"2026-13-01T00:00:00Z"}, {"ValidityType": 1}, {"ValidityType": False}, {"Sequence": -1},
        {"Sequence": 1.0}, {"Sequence": b"1"}, {"TTL": -1}, {"TTL": None},
    ],
)  # fmt: skip
def test_well_signed_nonsense_is_no_record(change: dict[str, dagcbor.Value]) -> None:
    assert read_record(KEY.name, forged(KEY, MAP)).value == "/ipfs/x"
    with pytest.raises(FormatError):
        read_record(KEY.name, forged(KEY, MAP | change))
    with pytest.raises(FormatError):
        read_record(KEY.name, forged(KEY, {key: value for key, value in MAP.items() if key not in change}))


def test_what_is_not_a_map_or_not_canonical_is_no_record() -> None:
    for data in (dagcbor.encode([1]), b"\xa1", b"\xbf\xff", dagcbor.encode(MAP) + b"\0"):
        with pytest.raises(FormatError):
            read_record(KEY.name, bytes_field(8, KEY.sign(b"ipns-signature:" + data)) + bytes_field(9, data))


def test_the_size_is_bounded_both_ways() -> None:
    with pytest.raises(FormatError, match="at most 10240"):
        read_record(KEY.name, bytes(MAX_RECORD_BYTES + 1))
    with pytest.raises(ConfigError, match="at most 10240"):
        signed(extra={"_note": "x" * MAX_RECORD_BYTES})


def test_sequences_go_to_64_bits() -> None:
    for sequence in (0, 1 << 63, (1 << 64) - 1):
        record = signed(sequence=sequence)
        assert read_record(KEY.name, record.data).sequence == sequence
    with pytest.raises(ConfigError, match="64 bits"):
        signed(sequence=1 << 64)


def test_extra_keys_need_an_underscore() -> None:
    with pytest.raises(ValueError, match="underscore"):
        signed(extra={"Value": b"/ipfs/other"})


@given(st.binary(max_size=400))
def test_any_bytes_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(HoldfastError):
        read_record(KEY.name, data)


def test_spliced_records_never_pass() -> None:
    """Parts of two honest records of one key, mixed at random: whatever passes says what one of the two says."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    first, second = signed(sequence=1), sign_record(KEY, "/ipfs/other", sequence=2, validity_ns=NOW + S)
    honest = {(record.value, record.sequence, record.validity_ns) for record in (first, second)}
    for _ in range(300):
        cut, other = chance.randrange(len(first.data)), chance.randrange(len(second.data))
        try:
            found = read_record(KEY.name, first.data[:cut] + second.data[other:])
        except HoldfastError:
            continue
        assert (found.value, found.sequence, found.validity_ns) in honest


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0), ("2123-08-14T12:17:03.694052Z", 4_847_689_023_694_052_000),
        ("1970-01-01T00:00:00.000000001Z", 1), ("2026-11-29T00:00:00.5Z", 1_795_910_400_500_000_000),
    ],
)  # fmt: skip
def test_moments(text: str, ns: int) -> None:
    assert parse_moment(text) == ns
    assert format_moment(ns) == text


def test_moments_have_zones_and_bounds() -> None:
    assert parse_moment("1970-01-01T01:00:00+01:00") == 0
    for text in ("", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00.Z", "0000-01-01T00:00:00Z", "²" * 20):
        with pytest.raises(FormatError):
            parse_moment(text)
    with pytest.raises(ValueError, match="9999"):
        format_moment(1 << 80)
