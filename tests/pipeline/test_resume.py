"""A publish that was killed goes on: what was hashed and packed is not hashed and packed again."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from holdfast.pipeline.pack import parquet, tar
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks import hashing
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.disk import DiskStore
from support.programs import Program

KIB = 1 << 10
OPTIONS = {"name": "d", "leaf_size": 16 * KIB, "shard_size": 64 * KIB}

KILLED = """
import os, signal, sys
from holdfast.pipeline import keeper
from holdfast.pipeline.publish import publish
keeper._BATCH_S = -1.0  # every file is made visible at once
count, flush = 0, keeper.Keeper.flush
def die(self):
    global count
    flush(self)
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
keeper.Keeper.flush = die
publish(sys.argv[1], repo=sys.argv[2], workers=1, **eval(sys.argv[3]))
"""


def corpus(folder: Path, kind: str) -> Path:
    folder.mkdir()
    numbers = random.Random(7)
    for number in range(10):
        text = numbers.randbytes((15 if kind in ("loose", "tokens") else 300) * KIB).hex()
        if kind == "loose":
            (folder / f"s{number}.jpg").write_bytes(text.encode())
        elif kind == "jsonl":
            lines = "".join(json.dumps({"id": n, "text": text[n * 200 : n * 200 + 200]}) + "\n" for n in range(3000))
            if number % 2:
                (folder / f"s{number}.jsonl.gz").write_bytes(gzip.compress(f"\n{lines}not json\n".encode(), mtime=0))
            else:
                (folder / f"s{number}.jsonl").write_text(f"\n{lines}\n[]\n")
        elif kind == "csv":
            rows = "".join(f'{n},"{text[n * 200 : n * 200 + 99]}\n{n}"\n' for n in range(3000))
            (folder / f"s{number}.csv").write_text(f"id,text\n{rows}\nbad\n")
        elif kind == "text":
            (folder / f"s{number}.py").write_text(text)
        else:
            (folder / f"s{number}.bin").write_bytes(bytes.fromhex(text))
    time.sleep(0.03)  # older than a tick: a change would show in their stamps
    return folder


@pytest.mark.parametrize("kind", ["loose", "jsonl", "csv", "text", "tokens"])
def test_a_killed_publish_goes_on_and_ends_with_the_same_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    options = OPTIONS | ({"format": "tokens", "dtype": "uint16"} if kind == "tokens" else {})
    source = corpus(tmp_path / "src", kind)
    whole = publish(source, repo=tmp_path / "uninterrupted", **options)
    assert Program(KILLED, source, tmp_path / "repo", repr(options)).wait() == -signal.SIGKILL
    with DiskStore(tmp_path / "repo").open() as store:
        assert store.catalog.names() == {}
        assert list(check(store, Checked())) == []
    made: list[object] = []
    write_tar, finish, open_ = tar.write_tar, parquet.ShardWriter.finish, hashing._open
    monkeypatch.setattr(tar, "write_tar", lambda *given: made.append(given) or write_tar(*given))
    monkeypatch.setattr(parquet.ShardWriter, "finish", lambda self: made.append(self) or finish(self))
    if kind == "tokens":
        monkeypatch.setattr(hashing, "_open", lambda path: made.append(path) or open_(path))
        monkeypatch.setattr("holdfast.pipeline.keeper.hash_file", lambda *a, **k: _unrecorded(made, *a, **k))
    again = publish(source, repo=tmp_path / "repo", **options)
    assert again.root == whole.root
    assert 0 < len(made) < whole.shards, "some, and not all, was there already"
    with DiskStore(tmp_path / "repo").open() as store:
        assert list(check(store, Checked())) == []
    made.clear()
    third = publish(source, repo=tmp_path / "repo", **options)
    assert (third.root, third.new_bytes, made) == (whole.root, 0, []), "an unchanged source is not packed again"


def _unrecorded(made: list[object], *given: object, **named: object) -> object:
    found = hashing.hash_file(*given, **named)  # type: ignore[arg-type]
    made.pop()
    return found


def test_a_file_that_changed_is_packed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = corpus(tmp_path / "src", "loose")
    first = publish(source, repo=tmp_path / "repo", **OPTIONS)
    made: list[object] = []
    write_tar = tar.write_tar
    monkeypatch.setattr(tar, "write_tar", lambda *given: made.append(given) or write_tar(*given))
    path = source / "s3.jpg"
    changed = bytearray(path.read_bytes())
    changed[0] ^= 1
    about = path.stat()
    path.write_bytes(changed)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # the change time tells
    time.sleep(0.03)
    second = publish(source, repo=tmp_path / "repo", **OPTIONS)
    assert second.root != first.root
    assert len(made) == 1
    assert publish(source, repo=tmp_path / "fresh", **OPTIONS).root == second.root


def test_rows_are_packed_again_by_another_version_of_our_packer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(tmp_path / "src", "jsonl")
    root = publish(source, repo=tmp_path / "repo", **OPTIONS).root
    made: list[object] = []
    finish = parquet.ShardWriter.finish
    monkeypatch.setattr(parquet.ShardWriter, "finish", lambda self: made.append(self) or finish(self))
    publish(source, repo=tmp_path / "repo", **OPTIONS)
    assert made == []
    monkeypatch.setattr("holdfast.pipeline.pack.packer.ROWS_VERSION", "another")
    assert publish(source, repo=tmp_path / "repo", **OPTIONS).root == root, "the version is not in the dataset"
    assert made
