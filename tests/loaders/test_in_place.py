"""Shards published as they lie, compressed or as Arrow files: their samples, what is kept, and what is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest
import zstandard

import holdfast.pipeline.shards as shards_module
from holdfast import DataLoader, IndexedDataset, StreamingDataset
from holdfast.loaders import decoded_files
from holdfast.loaders.cache import ShardCache
from holdfast.loaders.cache_contents import clear, decoded_bytes
from holdfast.loaders.errors import SampleError
from holdfast.loaders.readers.arrow import ArrowReader
from holdfast.pipeline.describe import describe
from holdfast.storage.errors import ConfigError, FormatError
from support.mirror_server import MirrorServer
from support.samples import collect

Serve = Callable[..., MirrorServer]
PER_SHARD = 150


def tar_bytes(first: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number in range(first, first + PER_SHARD):
            for extension, data in (("txt", b"text %d " % number * 40), ("cls", b"%d" % number)):
                info = tarfile.TarInfo(f"d/s{number:05d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("no extension")
        tar.addfile(info)
    return out.getvalue()


def line_bytes(first: int) -> bytes:
    lines = [
        json.dumps({"n": n, "text": f"é {n} " * 30, "more": [None, {"x": 1.5}]})
        for n in range(first, first + PER_SHARD)
    ]
    lines[1:1] = ["", "not json", "[1]", '{"__key__": 1}']
    return b"\xef\xbb\xbf" + "\n".join(lines).encode() + b"\n\n"


def frames(data: bytes, parts: int = 3) -> bytes:
    """Several frames on end, as programs write them that compress on all cores."""
    cut = len(data) // parts + 1
    return b"".join(zstandard.ZstdCompressor().compress(data[at : at + cut]) for at in range(0, len(data), cut))


def arrow_table(first: int, rows: int = PER_SHARD) -> pa.Table:
    numbers = list(range(first, first + rows))
    return pa.table(
        {
            "n": numbers,
            "text": [f"é {n} " * 30 if n % 7 else None for n in numbers],
            "kind": pa.array([f"k{n % 3}" for n in numbers]).dictionary_encode(),
            "tokens": [[n, n + 1] for n in numbers],
        }
    )


def write_shards(source: Path, kind: str, count: int = 4) -> list[dict[str, Any]]:
    """Shards of a kind, and the samples they hold."""
    source.mkdir()
    expected: list[dict[str, Any]] = []
    for shard in range(count):
        first = shard * PER_SHARD
        numbers = range(first, first + PER_SHARD)
        if kind == "tar.zst":
            (source / f"{shard}.tar.zst").write_bytes(frames(tar_bytes(first)))
            expected += [{"txt": b"text %d " % n * 40, "cls": b"%d" % n} for n in numbers]
        elif kind == "jsonl.zst":
            (source / f"{shard}.jsonl.zst").write_bytes(frames(line_bytes(first)))
            expected += [{"n": n, "text": f"é {n} " * 30, "more": [None, {"x": 1.5}]} for n in numbers]
        else:
            table = arrow_table(first)
            if shard % 2:
                pa.feather.write_feather(table, source / f"{shard}.feather", compression="zstd", chunksize=40)
            else:
                with pa.ipc.new_file(source / f"{shard}.arrow", table.schema) as writer:
                    writer.write_batch(table.to_batches()[0].slice(0, 0))
                    writer.write_table(table, max_chunksize=64)
            expected += table.to_pylist()
    return expected


def values(samples: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in sample.items() if not name.startswith("__")} for sample in samples]


@pytest.fixture
def place(tmp_path: Path, publish_folder: Any, serve: Serve) -> Any:
    """Publish shards of a kind; a maker of datasets over them, and the samples in order."""

    def start(kind: str, **options: Any) -> tuple[Callable[..., StreamingDataset], list[dict[str, Any]], MirrorServer]:
        expected = write_shards(tmp_path / "src", kind)
        given = {"format": "jsonl.zst"} if kind == "jsonl.zst" else {}
        published = publish_folder(tmp_path / "src", leaf_size=16384, **given, **options)
        server = serve(published.folder)
        make = lambda **chosen: StreamingDataset(
            published.uri, **{"sources": [server.url], "cache": tmp_path / "cache", "batch_size": 8, **chosen}
        )
        return make, expected, server

    return start


KINDS = ["tar.zst", "jsonl.zst", "arrow"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_sample_comes_as_it_was_for_any_number_of_workers(place: Any, kind: str) -> None:
    make, expected, _ = place(kind)
    head = make().head
    assert (head.shard_format, head.samples, head.shards, head.writer) == (kind, len(expected), 4, None)
    assert values(make(shuffle=False)) == expected
    shuffled = [sample["__index__"] for sample in make(seed=5)]
    assert sorted(shuffled) == list(range(len(expected)))
    found = collect(make(seed=5), 2, batch=8)
    assert [sample["__index__"] for sample in found] == shuffled
    assert values(found) == [expected[number] for number in shuffled]


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_reads_what_is_kept(place: Any, kind: str, tmp_path: Path) -> None:
    make, expected, server = place(kind)
    first = make()
    list(first)
    first.close()
    kept = sorted(path.name for path in (tmp_path / "cache" / "decoded").glob("*"))
    assert len(kept) == (0 if kind == "arrow" else 8)
    if kind != "arrow":  # the shards themselves may go
        for path in (tmp_path / "cache" / "shards").glob("*"):
            path.unlink()
        for path in (tmp_path / "cache" / "decoded").glob("*"):
            assert path.stat().st_size < 1 << 20
    asked = sum("/data/" in request or request.startswith("data/") for request in map(str, server.requests))
    again = make(shuffle=False)
    assert values(again) == expected
    again.close()
    after = sum("/data/" in request or request.startswith("data/") for request in map(str, server.requests))
    assert after == asked


@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_on(place: Any, kind: str) -> None:
    make, _, _ = place(kind)
    whole = [sample["__index__"] for sample in make(seed=1)]
    loader = DataLoader(make(seed=1), batch_size=8, num_workers=2, collate_fn=list)
    seen = [sample["__index__"] for batch in islice(loader, 9) for sample in batch]
    again = DataLoader(make(seed=1), batch_size=8, collate_fn=list)
    again.load_state_dict(loader.state_dict())
    assert seen + [sample["__index__"] for batch in again for sample in batch] == whole


@pytest.mark.parametrize("kind", ["tar.zst", "jsonl.zst"])
def test_what_is_kept_and_no_longer_what_it_was_is_made_again(place: Any, kind: str, tmp_path: Path) -> None:
    make, expected, _ = place(kind)
    dataset = make(shuffle=False)
    assert values(dataset) == expected
    victim = next(path for path in (tmp_path / "cache" / "decoded").glob("*") if path.suffix != ".marks")
    data = victim.read_bytes()
    for bad in (data[:100] + b"!" + data[101:], None, b""):
        if bad is None:
            victim.unlink()
        else:
            victim.write_bytes(bad)
        assert values(dataset) == expected, "in the same dataset, at the next pass"
        assert victim.read_bytes() == data
    victim.write_bytes(bytes(len(data)))
    dataset.close()
    assert values(make(shuffle=False)) == expected, "in the next run"
    before = victim.stat().st_mtime_ns
    assert values(make(shuffle=False, reverify=True)) == expected
    assert victim.stat().st_mtime_ns != before, "whoever hashes all again believes nothing that was kept"


def test_what_is_kept_is_not_believed_across_a_boot(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was synced: after a power loss a file may have its stamp, and holes."""
    make, expected, _ = place("jsonl.zst")
    list(make())
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "decoded").glob("*[!s]")}
    monkeypatch.setattr(decoded_files, "boot", lambda: b"another!")
    assert values(make(shuffle=False)) == expected
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "decoded").glob("*[!s]")}
    assert before.keys() == after.keys()
    assert all(before[name] < after[name] for name in before)


def test_a_killed_writer_leaves_nothing_that_is_believed(place: Any, tmp_path: Path) -> None:
    make, expected, _ = place("jsonl.zst")
    list(make())
    for path in (tmp_path / "cache" / "decoded").glob("*.marks"):
        path.write_bytes(b"")
        path.with_suffix("").write_bytes(b"half")
    assert values(make(shuffle=False)) == expected


@pytest.mark.parametrize("kind", ["tar.zst", "jsonl.zst"])
def test_what_is_kept_counts_in_the_budget_of_the_cache(place: Any, kind: str, tmp_path: Path) -> None:
    make, expected, _ = place(kind)
    whole = make()
    list(whole)
    sizes = [path.stat().st_size for path in (tmp_path / "cache" / "decoded").glob("*")]
    whole.close()
    budget = 2 * max(sizes)
    small = make(cache_bytes=budget)
    assert sorted(sample["__index__"] for sample in small) == list(range(len(expected)))
    small.close()
    held = [path.stat().st_size for name in ("shards", "decoded") for path in (tmp_path / "cache" / name).glob("*")]
    assert sum(held) <= budget
    cache = ShardCache(tmp_path / "cache", 0)
    assert decoded_bytes(cache) > 0
    clear(cache)
    assert decoded_bytes(cache) == 0
    assert [*cache.decoded.glob("*"), *cache.shards.glob("*")] == []


def test_columns_of_arrow_files(place: Any) -> None:
    make, expected, _ = place("arrow")
    assert values(make(shuffle=False, columns=["text", "n"])) == [{"n": e["n"], "text": e["text"]} for e in expected]
    with pytest.raises(ConfigError, match="has no column 'x'"):
        next(iter(make(columns=["x"])))


def test_an_arrow_row_fetches_its_record_batch(tmp_path: Path, publish_folder: Any, serve: Serve) -> None:
    (tmp_path / "src").mkdir()
    rng = np.random.default_rng(1)
    table = pa.table({"x": [rng.bytes(2000) for _ in range(1000)]})
    with pa.ipc.new_file(tmp_path / "src" / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=20)
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    dataset = IndexedDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c")
    assert dataset[505]["x"] == table["x"][505].as_py()
    assert dataset.stats().missed_bytes < 300_000, "of 2 MB: footer, schema and one batch of 40 KB"
    dataset.close()


def test_dictionaries_of_arrow_files_are_decoded_once_while_there_is_room(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_ = ArrowReader._with_dictionaries
    monkeypatch.setattr(
        ArrowReader, "_with_dictionaries", lambda self, _: opened.append(self._shard.path) or open_(self, _)
    )
    make, expected, _ = place("arrow")
    assert values(make(shuffle=False)) == expected
    assert len(opened) == len(set(opened)) == 4


def lie(monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], samples: int | None = None) -> None:
    """A publisher whose index says something else."""

    def lying(*args: Any) -> Any:
        facts = describe(*args)
        assert facts.index is not None
        return dataclasses.replace(
            facts, index=change(facts.index), samples=facts.samples if samples is None else samples
        )

    monkeypatch.setattr(shards_module, "describe", lying)


def numbers(index: bytes) -> Any:
    return np.frombuffer(index, dtype="<u8").copy()


def test_a_bomb_is_refused_by_the_size_that_it_declares(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def larger(index: bytes) -> bytes:
        offsets = numbers(index)
        offsets[-1] = 1 << 50
        return bytes(offsets.tobytes())

    lie(monkeypatch, larger)
    make, _, _ = place("tar.zst")
    with pytest.raises(ConfigError, match="1125899906842624 bytes when decompressed, and the cache takes"):
        next(iter(make()))


def test_a_stream_that_goes_on_behind_what_it_declares_is_read_no_further(
    tmp_path: Path, publish_folder: Any, serve: Serve
) -> None:
    """8 MB of blank lines behind the last sample, in 1 KB."""
    (tmp_path / "src").mkdir()
    data = frames(b'{"a": 1}\n{"a": 2}\n', 1) + frames(b"\n" * (8 << 20), 1)
    (tmp_path / "src" / "a.jsonl.zst").write_bytes(data)
    published = publish_folder(tmp_path / "src", leaf_size=16384, format="jsonl.zst")
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c")
    assert sorted(sample["a"] for sample in dataset) == [1, 2]
    dataset.close()
    assert sum(path.stat().st_size for path in (tmp_path / "c" / "decoded").glob("*")) < 1000


@pytest.mark.parametrize("kind", ["tar.zst", "jsonl.zst"])
def test_an_index_that_declares_too_much_is_a_sample_error(
    place: Any, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def larger(index: bytes) -> bytes:
        offsets = numbers(index)
        offsets[-1] += 1 << 20
        return bytes(offsets.tobytes())

    lie(monkeypatch, larger)
    make, expected, _ = place(kind)
    with pytest.raises(SampleError, match=r"^data/.*: it holds \d+ bytes, expected \d+"):
        next(iter(make()))
    assert list((tmp_path / "cache" / "decoded").glob("*[!s]")) == [], "nothing half made is left"
    skipping = make(on_error="skip")
    assert list(skipping) == []
    assert skipping.stats().skipped == len(expected)


@pytest.mark.parametrize("kind", ["tar.zst", "jsonl.zst"])
def test_an_index_that_points_elsewhere_gives_errors_and_no_wrong_samples(
    place: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(index: bytes) -> bytes:
        offsets = numbers(index)
        offsets[1:-1] += 3
        return bytes(offsets.tobytes())

    lie(monkeypatch, shifted)
    make, expected, _ = place(kind)
    dataset = make(on_error="skip", shuffle=False)
    assert [value for value in values(dataset) if value not in expected] == []
    assert dataset.stats().skipped >= len(expected) - 4


@pytest.mark.parametrize("change", [lambda i: i[:-8], lambda i: i[8:16] + i[:8] + i[16:], lambda i: i + bytes(8)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_that_contradicts_itself_is_a_format_error(
    place: Any, kind: str, change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(monkeypatch, change)
    make, _, _ = place(kind)
    with pytest.raises(FormatError, match="index"):
        list(make())


def test_an_arrow_index_that_counts_other_rows_is_found_out(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(index: bytes) -> bytes:
        table = numbers(index)
        table[6] += 1  # the first row of the third batch
        return bytes(table.tobytes())

    lie(monkeypatch, moved)
    make, expected, _ = place("arrow")
    with pytest.raises(SampleError, match=r"record batch 1 .* rows, the index says"):
        list(make(shuffle=False))
    assert all(value in expected for value in values(make(on_error="skip", shuffle=False)))


def test_arrow_offsets_that_lie_are_found_before_they_are_used(
    tmp_path: Path, publish_folder: Any, serve: Serve
) -> None:
    """Offsets of a text column that lead out of its buffer: believed, they would read other memory."""
    (tmp_path / "src").mkdir()
    offsets = np.array([0, 3, 1 << 30], dtype=np.int32)
    with pa.ipc.new_file(tmp_path / "src" / "a.arrow", pa.schema({"t": pa.string()})) as writer:
        good = pa.array(["abc", "def"])
        writer.write_batch(pa.record_batch([good], names=["t"]))
    data = (tmp_path / "src" / "a.arrow").read_bytes()
    plain = np.array([0, 3, 6], dtype=np.int32).tobytes()
    assert data.count(plain) == 1
    (tmp_path / "src" / "a.arrow").write_bytes(data.replace(plain, offsets.tobytes()))
    published = publish_folder(tmp_path / "src", leaf_size=16384)
    dataset = StreamingDataset(published.uri, sources=[serve(published.folder).url], cache=tmp_path / "c")
    with pytest.raises(SampleError, match="record batch 0 cannot be read"):
        next(iter(dataset))
    dataset.close()
