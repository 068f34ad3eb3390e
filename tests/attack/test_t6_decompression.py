"""T6: what is small and says that it is large, or becomes large. Refused or read over, in bounded memory."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from support.disk import files_of
from support.victim import Victim

BOMB_BYTES = 512 << 20
PEAK_BYTES = 3 * (64 << 20) + (128 << 20) + (64 << 20)  # a row, twice in flight and once joined; a window; ourselves
ROWS = "".join(json.dumps({"text": f"row {n}"}) + "\n" for n in range(50)).encode()


def _gz(data: bytes, zeros: int) -> bytes:
    """A gzip stream of `data` and zeros, made a megabyte at a time."""
    part = gzip.compress(bytes(1 << 20), 9, mtime=0)
    return gzip.compress(data, mtime=0) + part * (zeros >> 20)


def _zst(data: bytes, zeros: int) -> bytes:
    frame = zstandard.ZstdCompressor(level=3)
    return frame.compress(data) + frame.compress(bytes(1 << 20)) * (zeros >> 20)


def _one_frame(data: bytes, zeros: int, window_log: int = 20) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log, write_content_size=False)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    parts = [writer.compress(data)]
    parts += [writer.compress(bytes(1 << 20)) for _ in range(zeros >> 20)]
    return b"".join([*parts, writer.flush()])


ENDLESS_SIZE = b"\x28\xb5\x2f\xfd\xc0\x00" + (1 << 62).to_bytes(8, "little")[:7]
BOMBS = {
    "rows.jsonl.gz": lambda: _gz(ROWS, BOMB_BYTES),
    "rows.jsonl.zst": lambda: _zst(ROWS, BOMB_BYTES),
    "frame.jsonl.zst": lambda: _one_frame(ROWS, BOMB_BYTES),
    "window.jsonl.zst": lambda: _one_frame(ROWS, 64 << 20, window_log=27),
    "size.jsonl.zst": lambda: ENDLESS_SIZE,
    "size2.jsonl.zst": lambda: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8,
    "cut.jsonl.gz": lambda: _gz(ROWS, 0)[:-9],
    "wide.jsonl.zst": lambda: b"\x28\xb5\x2f\xfd\x00\xff" + bytes(20),
    "deep.jsonl": lambda: ROWS + b'{"a":' * 5_000_000 + b"\n",
    "number.jsonl": lambda: ROWS + b'{"a":' + b"9" * 5_000_000 + b"}\n",
    "text.txt.gz": lambda: _gz(b"text", BOMB_BYTES),
}


@pytest.mark.parametrize("name", BOMBS)
def test_publishing_a_bomb_ends_in_bounded_memory(victim: Victim, tmp_path: Path, name: str) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / name).write_bytes(BOMBS[name]())
    before = files_of(source)
    outcome = victim.call("publish_folder", source=str(source), repo=str(tmp_path / "repo"))
    assert outcome.error in ("", "ConfigError"), outcome
    if not outcome.error:
        assert outcome.value["samples"] == 50 or name == "text.txt.gz"
        assert outcome.value["skipped"], "what was left out is named"
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < 60
    assert files_of(source) == before
    written = sum(path.stat().st_size for path in (tmp_path / "repo").rglob("*") if path.is_file())
    assert written < 4 << 20


@pytest.mark.parametrize("seed", [1, 2])
def test_a_parquet_file_that_lies_about_itself_is_refused(victim: Victim, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    table = pa.table({"n": list(range(60)), "text": ["x" * rng.randrange(40) for _ in range(60)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=20, compression="zstd")
    outcome = victim.call("read_damaged_parquet", path=str(tmp_path / "x.parquet"), rows=60, tries=250, seed=seed)
    assert outcome.error == "", outcome
    assert outcome.value["refused"] > 20
    assert outcome.peak_bytes < PEAK_BYTES


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_an_arrow_file_that_lies_about_itself_is_refused(victim: Victim, tmp_path: Path, compression: str) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    numbers = range(60)
    table = pa.table(
        {
            "n": numbers,
            "t": [f"text {n}" for n in numbers],
            "l": [[n] * (n % 4) for n in numbers],
            "s": [{"a": "x"}] * 60,
        }
    )
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(tmp_path / "x.arrow", table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=20)
    outcome = victim.call("read_damaged_arrow", path=str(tmp_path / "x.arrow"), rows=60, tries=400, seed=seed)
    assert outcome.error == "", outcome
    assert outcome.value["refused"] > 20
    assert outcome.peak_bytes < PEAK_BYTES
