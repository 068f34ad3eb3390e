"""The short walk through the headers of a sample gives what the long one gives, or leaves it to that one."""

from __future__ import annotations

import io
import random
import tarfile
from typing import Any

import pytest

from holdfast.storage.errors import FormatError
from holdfast.storage.shards import tar
from holdfast.storage.shards.tar import BLOCK


def sample(mtime: float = 1_700_000_000.123, **pax: str) -> bytes:
    """Two members as webdataset's `ShardWriter` writes them, and no end of the archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in (("000001.bin", b"x" * 700), ("000001.cls", b"12")):
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.pax_headers = len(data), mtime, pax
            archive.addfile(member, io.BytesIO(data))
        return file.getvalue()[: archive.offset]


def walks(data: bytes) -> tuple[Any, Any]:
    """What either gives; None for an error, and for what the short one leaves to the other."""
    read = lambda start, end: data[start:end]
    try:
        long = list(tar._all_parts(read, len(data)))
    except FormatError:
        long = None
    return tar._plain_parts(read, len(data)), long


@pytest.mark.parametrize("mtime", [1_700_000_000, 1_700_000_000.123, 0.5])
def test_what_webdataset_writes_is_walked_the_short_way(mtime: float) -> None:
    short, long = walks(sample(mtime))
    assert short == long
    assert [(key, extension) for (key, extension), _, _ in short] == [("000001", "bin"), ("000001", "cls")]


@pytest.mark.parametrize("pax", [{"path": "2.bin"}, {"size": "1"}, {"GNU.sparse.major": "1"}, {"comment": "hello"}])
def test_other_pax_records_are_left_to_the_long_walk(pax: dict[str, str]) -> None:
    assert walks(sample(**pax))[0] is None


def test_a_header_without_its_member_is_an_error() -> None:
    data = sample()
    assert walks(data[: 2 * BLOCK]) == (None, None)
    assert walks(data + data[: 2 * BLOCK]) == (None, None)


def test_whatever_changes_they_agree() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, whole = random.Random(seed), sample()
    interesting = [*range(BLOCK), *range(BLOCK, BLOCK + 30), *range(2 * BLOCK, 3 * BLOCK)]
    for _ in range(3000):
        data = bytearray(whole)
        at = rng.choice(interesting)
        data[at] = rng.choice((0, 0x20, 0x30, 0x37, 0x78, 0xFF, data[at] ^ 1 << rng.randrange(8)))
        if rng.random() < 0.8:  # with a checksum that fits
            start = at // BLOCK * BLOCK
            head = data[start : start + BLOCK]
            head[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(head)
        cut = rng.choice((len(data), len(data), rng.randrange(len(data))))
        short, long = walks(bytes(data[:cut]))
        assert short is None or short == long, (at, cut)
