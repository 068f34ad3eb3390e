"""Generated inputs: tars of incompressible members, parquet of text, a stream of tokens. The same for every run."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

IMAGE_BYTES = 100_000
TEXT_CHARS = 2_048
SEQ_LEN = 2_048
_TAR_SAMPLES = 640  # of one tar: 64 MB
_ROWS_PER_GROUP = 512
_ROWS_PER_SHARD = 8_192


def make_images(folder: Path, count: int) -> Path:
    """`count` samples of 100,000 random bytes and a label, in tars of 64 MB."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for first in range(0, count, _TAR_SAMPLES):
        with tarfile.open(folder / f"{first // _TAR_SAMPLES:05d}.tar", "w") as tar:
            for number in range(first, min(first + _TAR_SAMPLES, count)):
                _member(tar, f"{number:08d}.jpg", random.bytes(IMAGE_BYTES))
                _member(tar, f"{number:08d}.cls", str(number % 1000).encode())
    return folder


def make_text(folder: Path, count: int) -> Path:
    """`count` rows of an id and about 2,048 characters of words (Zipf), zstd, row groups of 512 rows."""
    random = np.random.default_rng(2)
    words = np.array(["".join(random.choice(list("etaoinshrdlu"), 2 + n % 9)) for n in range(20_000)], dtype=object)
    folder.mkdir(parents=True)
    for first in range(0, count, _ROWS_PER_SHARD):
        rows = min(_ROWS_PER_SHARD, count - first)
        picks = words[np.minimum(random.zipf(1.15, (rows, TEXT_CHARS // 6)) - 1, len(words) - 1)]
        texts = [" ".join(row)[:TEXT_CHARS] for row in picks]
        table = pa.table({"id": list(range(first, first + rows)), "text": texts})
        path = folder / f"{first // _ROWS_PER_SHARD:05d}.parquet"
        pq.write_table(table, path, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    return folder


def make_tokens(folder: Path, count: int) -> Path:
    """`count` tokens of 16 bits in two files."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(count), 2)):
        random.integers(0, 50_000, len(part), dtype=np.uint16).tofile(folder / f"{number:05d}.bin")
    return folder


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    tar.addfile(about, io.BytesIO(data))
