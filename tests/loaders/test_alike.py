"""Batches of tars whose samples are laid out alike: read together, and the same as one by one."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import DataLoader, StreamingDataset
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers import tar_columns
from holdfast.storage.errors import FormatError
from holdfast.storage.shards.tar import BLOCK, find_members
from holdfast.storage.shards.tar_headers import plain_members
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
SAMPLES, SIDE = 40, 3000


def _member(tar: tarfile.TarFile, name: str, data: bytes, mtime: float) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), mtime  # type: ignore[assignment]  # webdataset's are fractions as well
    tar.addfile(info, io.BytesIO(data))


def _tar(samples: list[dict[str, bytes]], *, timed: bool) -> bytes:
    """Samples s000, s001, …; `timed`: with pax headers, as webdataset's `ShardWriter` writes them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number, members in enumerate(samples):
            for name, data in members.items():
                _member(tar, f"s{number:03d}.{name}", data, 1_790_000_000 + (number / 7 if timed else number))
    return out.getvalue()


def _sample(number: int, side: int = SIDE) -> dict[str, bytes]:
    return {"bin": random.Random(number).randbytes(side), "cls": str(7**number % 12345).encode(), "raw": b"x" * 600}


def _other_order(number: int) -> dict[str, bytes]:
    return dict(reversed(_sample(number).items()))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each batch that was tried, whether it was read together."""
    found: list[bool] = []
    take = tar_columns.take_alike

    def spy(*args: Any) -> Any:
        result = take(*args)
        found.append(result is not None)
        return result

    monkeypatch.setattr(tar_columns, "take_alike", spy)
    return found


def _compare(data: bytes, publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    """Batches in order and shuffled, with an empty cache and a full one, beside samples one by one."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "0.tar").write_bytes(data)
    published = publish_folder(source, leaf_size=16384)
    for shuffle in (False, True):
        for _ in range(2):
            options = {"sources": [serve(published.folder).url], "cache": tmp_path / f"cache-{shuffle}"}
            options |= {"decode": "uint8", "shuffle": shuffle}
            loader = DataLoader(published.uri, 8, **options)
            one_by_one = iter(StreamingDataset(published.uri, **options))
            for batch in loader:
                for row, key in enumerate(batch["__key__"]):
                    expected = next(one_by_one)
                    assert key == expected["__key__"]
                    for name in expected:
                        assert np.array_equal(batch[name][row], expected[name]), name
            assert next(one_by_one, None) is None
            loader.dataset.close()


@pytest.mark.parametrize("timed", [True, False])
def test_alike_samples_are_read_together(
    taken: list[bool], publish_folder: Any, serve: Serve, tmp_path: Path, timed: bool
) -> None:
    data = _tar([_sample(number) for number in range(SAMPLES)], timed=timed)
    _compare(data, publish_folder, serve, tmp_path)
    assert taken
    assert all(taken)


@pytest.mark.parametrize(("members", "side"), [(511, 8), (512, 8), (1100, 8), (1100, 0), (1, 0)])
def test_a_sample_of_many_members_takes_several_calls(
    publish_folder: Any, serve: Serve, tmp_path: Path, members: int, side: int
) -> None:
    """Frames of a video: more pieces of memory than one call of the system fills."""
    samples = [{f"f{k:04d}.jpg": bytes([number]) * side for k in range(members)} for number in range(4)]
    _compare(_tar(samples, timed=False), publish_folder, serve, tmp_path)


def test_a_success_does_not_make_up_for_many_batches_in_vain(
    taken: list[bool], publish_folder: Any, serve: Serve, tmp_path: Path
) -> None:
    sides = [SIDE + 512 * (n % 2) if n // 2 % 4 else SIDE for n in range(2 * SAMPLES)]  # one batch of four is alike
    data = _tar([_sample(n, side) for n, side in enumerate(sides)], timed=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "0.tar").write_bytes(data)
    published = publish_folder(tmp_path / "src")
    url = serve(published.folder).url
    loader = DataLoader(published.uri, 2, sources=[url], cache=tmp_path / "c", decode="uint8", shuffle=False)
    assert len(list(loader)) == SAMPLES
    assert len(taken) < 20
    loader.dataset.close()


_UNLIKE = {
    "a byte less": [_sample(n) if n % 5 else _sample(n, SIDE - 1) for n in range(SAMPLES)],  # in as many blocks
    "a block more": [_sample(n, SIDE + 512 * (n % 2)) for n in range(SAMPLES)],
    "another order": [_sample(n) if n % 5 else _other_order(n) for n in range(SAMPLES)],
    "a long name": [{**_sample(n), "x" * 101: b"long"} for n in range(SAMPLES)],
    "a long label": [{**_sample(n), "txt": b"t" * (700 if n % 3 else 7)} for n in range(SAMPLES)],
}


@pytest.mark.parametrize("samples", _UNLIKE.values(), ids=_UNLIKE)
def test_others_are_read_one_by_one(
    taken: list[bool], publish_folder: Any, serve: Serve, tmp_path: Path, samples: list[dict[str, bytes]]
) -> None:
    _compare(_tar(samples, timed=True), publish_folder, serve, tmp_path)
    assert False in taken


def test_after_some_batches_in_vain_none_is_tried(
    taken: list[bool], publish_folder: Any, serve: Serve, tmp_path: Path
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "0.tar").write_bytes(_tar(_UNLIKE["a long name"], timed=True))
    published = publish_folder(source)
    loader = DataLoader(published.uri, 2, sources=[serve(published.folder).url], cache=tmp_path / "c", decode="uint8")
    assert len(list(loader)) == SAMPLES // 2
    assert taken == [False] * 8
    loader.dataset.close()


def test_a_label_that_is_none_names_its_sample(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    samples = [_sample(number) for number in range(8)]
    samples[5]["cls"] = b"cat"
    source = tmp_path / "src"
    source.mkdir()
    (source / "0.tar").write_bytes(_tar(samples, timed=True))
    published = publish_folder(source)
    loader = DataLoader(published.uri, 8, sources=[serve(published.folder).url], cache=tmp_path / "c", decode="uint8")
    with pytest.raises(SampleError, match=r"0\.tar, sample 's005': member 'cls' cannot be decoded"):
        next(iter(loader))
    loader.dataset.close()


def _checked(head: bytearray) -> None:
    """Give a header the checksum that belongs to it."""
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)


_PLAIN = _tar([{"bin": b"b" * 9}, {"bin": b"b" * 700}], timed=True)[:-1024]
_SPANS = [_PLAIN[:2048], _PLAIN[2048:4608]]  # header, record, header, one block of data, and two


@given(st.lists(st.tuples(st.integers(0, 4 * BLOCK - 1), st.integers(0, 255)), max_size=6), st.booleans())
def test_what_is_plain_is_what_a_walk_finds(changes: list[tuple[int, int]], mended: bool) -> None:
    first = bytearray(_SPANS[0])
    for at, value in changes:
        first[at] = value
    if mended:
        for start in (0, 2 * BLOCK):
            head = first[start : start + BLOCK]
            _checked(head)
            first[start : start + BLOCK] = head
    windows = np.frombuffer(b"".join(bytes(span[: 3 * BLOCK]) for span in (first, _SPANS[1])), np.uint8)
    found = plain_members(windows.reshape(2, 3 * BLOCK))
    if found is None:
        return
    for span, key, size in zip((bytes(first), _SPANS[1]), found.keys, found.sizes.tolist(), strict=True):
        if found.offset + -(-size // BLOCK) * BLOCK != len(span):  # whoever takes it looks at that
            continue
        own, members = find_members(lambda low, high, span=span: span[low:high], len(span))
        assert (own, members) == (key, {found.extension: (found.offset, found.offset + size)})


def test_the_bytes_of_headers_that_matter() -> None:
    """Each byte of the headers, changed in each bit: plain only where the walk finds the same."""
    plain = 0
    for at in range(3 * BLOCK):
        for bit in range(8):
            first = bytearray(_SPANS[0])
            first[at] ^= 1 << bit
            windows = np.frombuffer(bytes(first[: 3 * BLOCK]), np.uint8).reshape(1, 3 * BLOCK)
            found = plain_members(windows)
            if found is None:
                continue
            plain += 1
            try:
                key, members = find_members(lambda low, high, span=bytes(first): span[low:high], len(first))
            except FormatError:
                pytest.fail(f"byte {at}, bit {bit}: plain, and no sample")
            assert (found.keys, found.sizes.tolist()) == ([key], [9])
            assert members == {"bin": (3 * BLOCK, 3 * BLOCK + 9)}
    assert 0 < plain < 8 * BLOCK  # in the record's block, behind the record; digits of the time
