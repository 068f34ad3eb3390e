"""Headers that lie: a walk over a tar ends, forwards, whatever they say."""

from __future__ import annotations

import io
import tarfile

import pytest

from holdfast.storage.errors import FormatError
from holdfast.storage.shards.tar import members, samples


def tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            file.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def with_size(data: bytes, field: bytes) -> bytes:
    head = data[:124] + field + data[136:148] + b" " * 8 + data[156:512]
    return head[:148] + b"%06o\0 " % sum(head) + head[156:] + data[512:]


@pytest.mark.parametrize("field", [b"-0000001000\0", b"+0000001000\0", b"0_000001000\0", b"00000000009\0"])
def test_a_size_that_is_no_octal_number_is_refused(field: bytes) -> None:
    data = with_size(tar("a.txt"), field)
    with pytest.raises(FormatError, match="bad number"):
        list(members(lambda start, end: data[start:end], len(data)))


@pytest.mark.parametrize("field", [b"77777777777\0", b"\xff" * 12, b"\x80" + b"\xff" * 11])
def test_a_size_beyond_the_archive_is_refused(field: bytes) -> None:
    data = with_size(tar("a.txt"), field)
    with pytest.raises(FormatError, match="behind the archive"):
        list(members(lambda start, end: data[start:end], len(data)))


def test_an_extension_that_comes_twice_is_refused() -> None:
    data = tar("a.txt", "a.txt")
    with pytest.raises(FormatError, match="twice"):
        list(samples(lambda start, end: data[start:end], len(data)))


def test_a_span_names_its_extensions() -> None:
    data = tar("a.txt", "a.cls", "noext", "b.txt")
    spans = list(samples(lambda start, end: data[start:end], len(data)))
    assert [(span.key, span.extensions) for span in spans] == [("a", ("txt", "cls")), ("b", ("txt",))]


@pytest.mark.parametrize("off", [1, -1, 65_521, -65_521, 2 * 65_521])
def test_a_checksum_that_is_wrong_by_any_number_is_refused(off: int) -> None:
    """65,521 is the modulus of Adler-32, which adds the bytes up; a name of high bytes makes the sum exceed it."""
    head = bytearray(tar("a.txt")[:512])
    head[:100], head[157:257], head[345:500] = b"\xff" * 96 + b".txt", b"\xff" * 100, b"\xff" * 155
    head[148:156] = b" " * 8
    right = sum(head)
    assert right > 65_521 + 256
    rest = b"abc" + bytes(509)

    def read(field: int) -> None:
        data = bytes(head[:148]) + b"%06o\0 " % field + bytes(head[156:]) + rest
        list(members(lambda start, end: data[start:end], len(data)))

    read(right)
    if 0 <= right + off < 8**6:
        with pytest.raises(FormatError, match="bad checksum"):
            read(right + off)
