"""`python -m benchmarks.loaders.sequence LOADER FOLDER COUNT PER_SHARD`, by the interpreter of a peer.

Writes samples that are only their numbers, as many to a shard as asked for, and prints the order in which the peer's
own shuffle hands them out: one process, its defaults, from this disk.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .job import BATCH, SEED


def main() -> None:
    """Write, then read."""
    loader, folder, count, per_shard = sys.argv[1:]
    place = Path(folder)
    place.mkdir(parents=True)
    print(json.dumps({"order": list(_SEQUENCES[loader](place, int(count), int(per_shard)))}), flush=True)
    os._exit(0)  # some leave threads behind


def _webdataset(folder: Path, count: int, per_shard: int) -> Iterator[int]:
    wds: Any = importlib.import_module("webdataset")
    with wds.ShardWriter(str(folder / "%05d.tar"), maxcount=per_shard, verbose=0) as writer:
        for number in range(count):
            writer.write({"__key__": f"{number:08d}", "cls": number})
    shards = -(-count // per_shard)
    urls = f"{folder}/{{00000..{shards - 1:05d}}}.tar"
    dataset = wds.WebDataset(urls, shardshuffle=100, seed=SEED).shuffle(1000, seed=SEED).to_tuple("cls")
    yield from (int(number) for (number,) in dataset)


def _mosaic(folder: Path, count: int, per_shard: int) -> Iterator[int]:
    importlib.import_module(".clients.mds", __package__)  # makes it importable
    streaming: Any = importlib.import_module("streaming")
    number_bytes = 16  # with the offset and the header of a sample
    with streaming.MDSWriter(out=str(folder), columns={"y": "int"}, size_limit=per_shard * number_bytes) as writer:
        for number in range(count):
            writer.write({"y": number})
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH)
    yield from (int(row["y"]) for row in dataset)
    importlib.import_module("streaming.base.util").clean_stale_shared_memory()


def _litdata(folder: Path, count: int, per_shard: int) -> Iterator[int]:
    litdata: Any = importlib.import_module("litdata")
    litdata.optimize(
        fn=_numbers, inputs=[count], output_dir=str(folder), chunk_size=per_shard, num_workers=1,
        reorder_files=False, verbose=False,
    )  # fmt: skip
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, seed=SEED, drop_last=False)
    yield from (int(row["y"]) for row in dataset)


def _numbers(count: int) -> Iterator[dict[str, int]]:
    for number in range(count):
        yield {"y": number}


def _datasets(folder: Path, count: int, per_shard: int) -> Iterator[int]:
    datasets: Any = importlib.import_module("datasets")
    files = []
    for first in range(0, count, per_shard):
        files.append(str(folder / f"{first:08d}.parquet"))
        datasets.Dataset.from_dict({"y": list(range(first, min(first + per_shard, count)))}).to_parquet(files[-1])
    stream = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    yield from (row["y"] for row in stream.shuffle(seed=SEED, buffer_size=1000))


_SEQUENCES: dict[str, Callable[[Path, int, int], Iterator[int]]] = {
    "webdataset": _webdataset,
    "mosaic": _mosaic,
    "litdata": _litdata,
    "datasets": _datasets,
}


if __name__ == "__main__":
    main()
