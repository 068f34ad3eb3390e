"""Members that are no data are named, and writer and reader of an index pass over the same ones."""

from __future__ import annotations

import io
import tarfile

import pytest

from holdfast.storage.errors import FormatError
from holdfast.storage.shards.tar import SampleSpan, read_sample, samples

KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
}


def block(name: str, kind: bytes, data: bytes = b"", *, rest: bytes = b"", stored: int | None = None) -> bytes:
    """One member; `rest`: what lies in the header from byte 345 on; `stored`: the size that it says."""
    head = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2
    head += b"%011o\0" % (len(data) if stored is None else stored) + b"%011o\0" % 0 + b" " * 8 + kind
    head = head.ljust(257, b"\0") + b"ustar  \0"
    head = head.ljust(345, b"\0") + rest
    head = head.ljust(512, b"\0")
    head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
    return head + data + bytes(-len(data) % 512)


def pax(**fields: str) -> bytes:
    records = b""
    for key, value in fields.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(body) + 2 if len(body) < 98 else len(body) + 3
        records += str(length).encode() + body
    return block("pax", b"x", records)


def walk(data: bytes) -> tuple[list[SampleSpan], list[tuple[str, str]]]:
    named: list[tuple[str, str]] = []
    spans = list(samples(lambda start, end: data[start:end], len(data), lambda *member: named.append(member)))
    return spans, named


def read(data: bytes) -> list[tuple[str, dict[str, bytes]]]:
    found = [read_sample(memoryview(data)[span.start : span.end]) for span in walk(data)[0]]
    assert [tuple(fields) for _, fields in found] == [span.extensions for span in walk(data)[0]]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_named_and_leaves_its_neighbours_whole(kind: bytes) -> None:
    odd = block("a.jpg", kind, stored=512)  # some programs write the size of what a link points to
    data = block("a.txt", b"0", b"one") + odd + block("b.txt", b"0", b"two") + block("c.txt", kind) + bytes(1024)
    assert walk(data)[1] == [("a.jpg", KINDS[kind]), ("c.txt", KINDS[kind])]
    assert read(data) == [("a", {"txt": b"one"}), ("b", {"txt": b"two"})]


def test_directories_are_passed_over_in_silence() -> None:
    data = block("d.x/", tarfile.DIRTYPE) + block("d.x/a.txt", b"0", b"one") + bytes(1024)
    assert walk(data)[1] == []
    assert read(data) == [("d.x/a", {"txt": b"one"})]


def test_a_sparse_member_of_pax_is_named_and_never_read_as_its_map() -> None:
    stored = b"1\n0\n3\n".ljust(512, b"\0") + b"abc"
    odd = pax(GNU__sparse__major="1", GNU__sparse__minor="0", GNU__sparse__name="a.bin", GNU__sparse__realsize="9999")
    odd += block("GNUSparseFile.0/a.bin", b"0", stored)
    data = block("a.txt", b"0", b"one") + odd + block("a.cls", b"0", b"2") + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(info.name, info.issparse()) for info in tar] == [("a.txt", False), ("a.bin", True), ("a.cls", False)]
    assert walk(data)[1] == [("a.bin", "a sparse member")]
    assert read(data) == [("a", {"txt": b"one", "cls": b"2"})]


@pytest.mark.parametrize("maps", [0, 1, 2])
def test_an_old_sparse_member_is_named_and_the_walk_goes_on_behind_its_map(maps: int) -> None:
    extended = bytes(137) + bytes([maps > 0])  # byte 482: another block of the map follows
    head = block("a.bin", b"S", b"abc", rest=extended)
    more = b"".join(bytes(504) + bytes([at < maps - 1]) + bytes(7) for at in range(maps))
    data = block("a.txt", b"0", b"one") + head[:512] + more + head[512:] + block("b.txt", b"0", b"two") + bytes(1024)
    assert walk(data)[1] == [("a.bin", "a sparse member")]
    assert read(data) == [("a", {"txt": b"one"}), ("b", {"txt": b"two"})]


def test_a_sparse_map_without_end_ends_the_walk() -> None:
    head = block("a.bin", b"S", rest=bytes(137) + b"\1")
    data = head + (bytes(504) + b"\1" + bytes(7)) * 3
    with pytest.raises(FormatError, match="ends early"):
        walk(data)


def test_the_loaders_own_keys_are_no_extensions() -> None:
    data = block("a.__key__", b"0", b"x") + block("a.txt", b"0", b"one") + block("a.__index__", b"0", b"7")
    data += block("b.__key__", b"0", b"alone") + bytes(1024)
    assert [name for name, _ in walk(data)[1]] == ["a.__key__", "a.__index__", "b.__key__"]
    assert read(data) == [("a", {"txt": b"one"})]


@pytest.mark.parametrize("number", ["²", "٣", "-1", "+1", "1_0", "1" * 5000, "3.5", " 3"])
def test_a_pax_size_that_is_no_number_is_a_format_error(number: str) -> None:
    body = f"size={number}\n".encode()
    length = next(n for n in range(len(body), len(body) + 9) if n == len(str(n)) + 1 + len(body))
    data = block("pax", b"x", f"{length} ".encode() + body) + block("a.txt", b"0", b"one") + bytes(1024)
    with pytest.raises(FormatError, match="bad number"):
        walk(data)
    with pytest.raises(FormatError, match="bad number"):
        read_sample(memoryview(data))


@pytest.mark.parametrize("record", ["² a=b\n", "9" * 5000 + " a=b\n", "no length", "99 path=a\n", "2 \n", "0 a=b\n"])
def test_a_pax_record_of_a_wrong_length_is_a_format_error(record: str) -> None:
    data = block("pax", b"x", record.encode()) + block("a.txt", b"0", b"one") + bytes(1024)
    with pytest.raises(FormatError, match="pax header"):
        walk(data)
