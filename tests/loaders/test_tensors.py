"""`decode="uint8"`: members of tars as tensors of bytes, in batches that are copied once."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from torch.utils.data import DataLoader as TorchLoader

from holdfast import DataLoader, IndexedDataset, Mixture, StreamingDataset
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers.member_column import MemberColumn
from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.errors import StoreError
from support.full_disk import FullDisk
from support.mirror_server import MirrorServer
from support.trees import LEAF, file_dag

Serve = Callable[..., MirrorServer]
SAMPLES, SIDE = 90, 5000


def _sample(number: int) -> dict[str, bytes]:
    rng = random.Random(number)
    array = io.BytesIO()
    np.save(array, np.full(3, number, np.int16))
    return {
        "bin": rng.randbytes(SIDE),  # all as long
        "jpg": rng.randbytes(rng.randrange(4000)),  # no image: nobody decodes it
        "cls": str(number % 12).encode(),
        "txt": "ü".encode() * (number % 4),
        "json": json.dumps({"n": number}).encode(),
        "npy": array.getvalue(),
        "none": b"",
    }


def _tar(samples: dict[str, dict[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for key, parts in samples.items():
            for extension, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _folder(path: Path, suffix: str, shards: list[dict[str, dict[str, bytes]]]) -> Path:
    path.mkdir()
    for number, samples in enumerate(shards):
        data = _tar(samples)
        (path / f"{number}{suffix}").write_bytes(zstandard.compress(data) if suffix == ".tar.zst" else data)
    return path


@pytest.fixture(scope="module", params=[".tar", ".tar.zst"])
def members(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    third = SAMPLES // 3
    shards = [{f"s{n:03d}": _sample(n) for n in range(at, at + third)} for at in range(0, SAMPLES, third)]
    source = _folder(tmp_path_factory.mktemp("members") / "src", request.param, shards)
    return publish_folder(source, leaf_size=16384)


def _is_sample(number: int, found: dict[str, Any]) -> None:
    parts = _sample(number)
    assert found["__key__"] == f"s{number:03d}"
    for name in ("bin", "jpg", "none"):
        assert found[name].dtype == torch.uint8
        assert found[name].numpy().tobytes() == parts[name]
    assert (int(found["cls"]), found["txt"]) == (number % 12, "ü" * (number % 4))
    assert int(found["json"]["n"]) == number
    assert found["npy"].tolist() == [number] * 3


def _rows(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The samples of a batch."""
    batch = {**batch, "json": [{"n": n} for n in batch["json"]["n"]]}
    return [{name: values[row] for name, values in batch.items()} for row in range(len(batch["__key__"]))]


def test_members_are_tensors_of_their_bytes(members: Any, serve: Serve, tmp_path: Path) -> None:
    options = {"sources": [serve(members.folder).url], "cache": tmp_path, "decode": "uint8"}
    dataset = StreamingDataset(members.uri, shuffle=False, **options)
    for number, sample in enumerate(dataset):
        _is_sample(number, sample)
    assert number == SAMPLES - 1
    indexed = IndexedDataset(members.uri, **options)
    _is_sample(41, indexed[41])
    for one in (dataset, indexed):
        one.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_one_tensor_where_all_are_as_long(members: Any, serve: Serve, tmp_path: Path, workers: int) -> None:
    options = {"sources": [serve(members.folder).url], "cache": tmp_path, "decode": "uint8", "seed": 3}
    loader = DataLoader(members.uri, 8, workers, **options)
    seen = []
    for batch in loader:  # the last one is shorter
        count = len(batch["__key__"])
        assert batch["bin"].shape == (count, SIDE)
        assert isinstance(batch["jpg"], list)
        assert batch["none"].shape == (count, 0)
        assert batch["cls"].dtype == batch["__index__"].dtype == torch.int64
        for row in _rows(batch):
            _is_sample(int(row["__index__"]), row)
        seen += batch["__index__"].tolist()
    assert sorted(seen) == list(range(SAMPLES))
    assert seen == [sample["__index__"] for sample in StreamingDataset(members.uri, **options)]
    loader.dataset.close()


def test_a_pass_goes_on_from_a_state(members: Any, serve: Serve, tmp_path: Path) -> None:
    options = {"sources": [serve(members.folder).url], "cache": tmp_path, "decode": "uint8", "seed": 3}
    whole = [index for batch in DataLoader(members.uri, 8, **options) for index in batch["__index__"].tolist()]
    first = DataLoader(members.uri, 8, **options)
    batches = iter(first)
    seen = [index for _ in range(4) for index in next(batches)["__index__"].tolist()]
    second = DataLoader(members.uri, 7, **options)
    second.load_state_dict(first.state_dict())
    seen += [index for batch in second for index in batch["__index__"].tolist()]
    assert seen == whole


def test_torchs_loader_makes_the_same_batches(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    shard = {f"s{n}": {"bin": bytes([n]) * 700, "cls": str(n).encode()} for n in range(20)}
    published = publish_folder(_folder(tmp_path / "src", ".tar", [shard]), leaf_size=16384)
    options = {"sources": [serve(published.folder).url], "cache": tmp_path / "c", "decode": "uint8"}
    theirs = list(TorchLoader(StreamingDataset(published.uri, batch_size=6, **options), 6))
    ours = list(DataLoader(published.uri, 6, **options))
    for own, other in zip(ours, theirs, strict=True):
        assert own.keys() == other.keys()
        assert own["bin"].dtype == other["bin"].dtype
        for name in ("bin", "cls", "__index__"):
            assert torch.equal(own[name], other[name])


def test_a_sample_that_is_not_sound_is_named(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    shard = {"a": {"bin": b"1", "cls": b"1"}, "b": {"bin": b"2", "cls": b"two"}, "c": {"bin": b"3", "cls": b"3"}}
    published = publish_folder(_folder(tmp_path / "src", ".tar", [shard]), leaf_size=16384)
    options = {
        "sources": [serve(published.folder).url], "cache": tmp_path / "c", "decode": "uint8", "shuffle": False,
    }  # fmt: skip
    with pytest.raises(SampleError, match=r"0\.tar, sample 'b': member 'cls' cannot be decoded: invalid literal"):
        list(DataLoader(published.uri, 3, **options))
    skipping = list(DataLoader(published.uri, 3, on_error="skip", **options))
    assert [batch["__key__"] for batch in skipping] == [["a", "c"]]


def test_values_that_make_no_batch_are_named_and_null_is_one_of_them(
    publish_folder: Any, serve: Serve, tmp_path: Path
) -> None:
    for name, values in (("json", (b"1", b"null", b"3")), ("cls", (b"1", b"9223372036854775808", b"2"))):
        shard = {key: {"bin": b"1", name: value} for key, value in zip("abc", values, strict=True)}
        published = publish_folder(_folder(tmp_path / name, ".tar", [shard]), leaf_size=16384)
        options = {
            "sources": [serve(published.folder).url], "cache": tmp_path / "c", "decode": "uint8", "shuffle": False,
        }  # fmt: skip
        for more in ({}, {"on_error": "skip"}):
            with pytest.raises(SampleError, match=f"'{name}' of the samples 'a' to 'c' make no batch"):
                list(DataLoader(published.uri, 3, **options, **more))
        singles = [sample[name] for sample in StreamingDataset(published.uri, **options)]
        assert singles == [json.loads(value) for value in values]


def test_members_that_differ_in_length_are_lists_whoever_makes_the_batches(
    publish_folder: Any, serve: Serve, tmp_path: Path
) -> None:
    shard = {f"s{n}": {"bin": b"x" * n, "cls": b"%d" % n} for n in range(1, 8)}
    published = publish_folder(_folder(tmp_path / "src", ".tar", [shard]), leaf_size=16384)
    options = {
        "sources": [serve(published.folder).url], "cache": tmp_path / "c", "decode": "uint8", "shuffle": False,
    }  # fmt: skip
    mixed = Mixture([StreamingDataset(published.uri, **options)], [1])
    loaders = [
        DataLoader(published.uri, 3, **options),
        DataLoader(published.uri, 3, on_error="skip", **options),
        DataLoader(published.uri, 3, 2, worker_init_fn=_nothing, **options),
        DataLoader(mixed, 3),
    ]
    for loader in loaders:
        batches = list(loader)
        assert [[len(one) for one in batch["bin"]] for batch in batches] == [[1, 2, 3], [4, 5, 6], [7]]
        assert torch.cat([batch["cls"] for batch in batches]).tolist() == list(range(1, 8))


def _nothing(_: int) -> None:
    pass


def test_no_more_is_asked_for_than_can_be_open(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    """A shard that is closed takes along what was asked for: a batch over many would be fetched twice."""
    shards = [{f"s{n:02d}{m}": {"bin": random.Random(n).randbytes(30_000)} for m in range(8)} for n in range(16)]
    published = publish_folder(_folder(tmp_path / "src", ".tar", shards), leaf_size=16384)
    received = []
    for decode in (None, "uint8"):
        loader = DataLoader(
            published.uri, 64, sources=[serve(published.folder).url], cache=tmp_path / str(decode), decode=decode,
            cache_bytes=1_300_000, seed=2,
        )  # fmt: skip
        assert sum(len(batch["__key__"]) for batch in loader) == 128
        received.append(sum(source.bytes for source in loader.dataset.stats().sources))
        loader.dataset.close()
    assert received[1] < 1.3 * received[0]


def test_a_sample_without_a_member_of_the_first_one_is_named(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    shard = {"a": {"bin": b"1", "cls": b"1"}, "b": {"bin": b"2"}}
    published = publish_folder(_folder(tmp_path / "src", ".tar", [shard]), leaf_size=16384)
    options = {
        "sources": [serve(published.folder).url], "cache": tmp_path / "c", "decode": "uint8", "shuffle": False,
    }  # fmt: skip
    with pytest.raises(SampleError, match=r"0\.tar, sample 'b' has no member 'cls'"):
        list(DataLoader(published.uri, 2, **options))


def test_on_a_full_disk_they_come_from_memory(publish_folder: Any, serve: Serve, tmp_path: Path) -> None:
    shards = [{f"s{n:03d}": _sample(n) for n in range(at, at + 45)} for at in (0, 45)]
    published = publish_folder(_folder(tmp_path / "src", ".tar", shards), leaf_size=16384)
    cache, count = tmp_path / "cache", 0
    loader = DataLoader(published.uri, 8, sources=[serve(published.folder).url], cache=cache, decode="uint8", seed=1)
    with FullDisk(cache, 30, stays=True).on() as disk:
        for batch in loader:
            for row in _rows(batch):
                _is_sample(int(row["__index__"]), row)
                count += 1
    assert count == SAMPLES
    assert disk.refused
    loader.dataset.close()


def test_a_file_that_became_shorter_fills_nothing(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(2 * LEAF)
    layout = file_dag(data)[0]
    with VerifiedFile(tmp_path / "f", tmp_path / "m", layout).open(1) as file:
        for leaf in range(2):
            file.write(leaf, memoryview(data)[leaf * LEAF : (leaf + 1) * LEAF])
        out = bytearray(LEAF)
        file.fill(100, memoryview(out))
        assert out == data[100 : 100 + LEAF]
        file.path.write_bytes(data[:LEAF])
        with pytest.raises(StoreError, match="shorter than it was"):
            file.fill(100, memoryview(out))


def test_what_one_sample_says_takes_no_memory_for_all() -> None:
    column = MemberColumn(1 << 40)
    column.row(2048)[:] = 1
    column.row(2048)[:] = 2
    assert column.taken("bin", ["a"]).tolist() == [[1] * 2048, [2] * 2048]


def test_tars_are_read_without_pyarrow(images: Any, serve: Serve, tmp_path: Path) -> None:
    """It takes 30 MB of every process."""
    _, published = images
    script = """
import sys
from holdfast import DataLoader
uri, url, cache = sys.argv[1:]
loader = DataLoader(uri, 50, sources=[url], cache=cache, decode="uint8")
print(sum(len(batch["__key__"]) for batch in loader), "pyarrow" in sys.modules)
loader.dataset.close()
"""
    command = [sys.executable, "-c", script, published.uri, serve(published.folder).url, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["2000", "False"]
