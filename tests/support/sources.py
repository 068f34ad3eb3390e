"""Folders to publish, one of each kind, and what to compare afterwards."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
import zstandard
from PIL import Image

from holdfast.storage.blocks.disk import DiskStore, reader
from holdfast.storage.cid import CID
from holdfast.storage.dag.walk import file_layout, list_directory, resolve, run
from holdfast.storage.manifest import Head, Shard, decode_head, decode_page, page_path


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def jpegs(folder: Path, count: int, seed: int = 1) -> Path:
    """Images with a class and a caption beside each, some in folders."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        picture = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "JPEG")
        stem = f"{'train' if number % 3 else 'val'}/{number:05d}"
        write(
            folder,
            {
                f"{stem}.jpg": out.getvalue(),
                f"{stem}.cls": str(number % 10).encode(),
                f"{stem}.json": json.dumps({"caption": f"picture {number}"}).encode(),
            },
        )
    return folder


def parquet(folder: Path, shards: int = 3, rows: int = 1000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        numbers = list(range(shard * rows, (shard + 1) * rows))
        table = pa.table({"id": numbers, "text": [f"row {number}" for number in numbers]})
        pq.write_table(table, folder / f"part-{shard}.parquet", row_group_size=300)
    return folder


def tokens(folder: Path, shards: int = 2, count: int = 50_000) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stream = np.arange(shards * count, dtype=np.uint64) * 7919 % 65536
    for shard in range(shards):
        stream[shard * count : (shard + 1) * count].astype("<u2").tofile(folder / f"{shard:03d}.bin")
    return folder


def jsonl(folder: Path, rows: int = 500, suffix: str = "") -> Path:
    lines = b"".join(
        json.dumps({"id": n, "text": f"строка {n}"}, ensure_ascii=False).encode() + b"\n" for n in range(rows)
    )
    packed = {"": lines, ".gz": gzip.compress(lines, mtime=0), ".zst": zstandard.compress(lines)}[suffix]
    return write(folder, {f"rows.jsonl{suffix}": packed})


def texts(folder: Path, count: int = 60, seed: int = 2) -> Path:
    generator = random.Random(seed)
    words = ["def", "return", "naïve", "import", "λ", "\r\n", "\n", "\t"]
    for number in range(count):
        text = " ".join(generator.choice(words) for _ in range(generator.randrange(400)))
        write(folder, {f"pkg{number % 4}/mod_{number}.py": text.encode()})
    return write(folder, {"pkg0/latin.txt": b"caf\xe9", "pkg0/empty.py": b"", ".git/config": b"x"})


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything about a folder that publishing could disturb."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (about.st_mtime_ns, about.st_ino, about.st_mode, data)
    found["."] = (os.lstat(folder).st_mtime_ns, 0, 0, b"")
    return found


def tree_of(store: DiskStore, root: CID) -> dict[str, bytes]:
    """Every file of a root by its path, leaf by leaf from the store, each hashed."""
    files: dict[str, bytes] = {}
    folders = [("", root)]
    while folders:
        place, cid = folders.pop()
        for entry in run(list_directory(cid), reader(store)):
            path = f"{place}{entry.name}"
            if run(resolve(entry.cid, ()), reader(store)).kind == "directory":
                folders.append((f"{path}/", entry.cid))
                continue
            layout = run(file_layout(entry.cid), reader(store))
            files[path] = b"".join(store.get(layout.leaf_cid(leaf)).data for leaf in range(layout.leaves))
    return files


def manifest_of(files: dict[str, bytes]) -> tuple[Head, list[Shard]]:
    head = decode_head(files["dataset.json"])
    pages = (decode_page(files[page_path(number)], number, head) for number in range(len(head.pages)))
    return head, [shard for page in pages for shard in page]


def wds(folder: Path, count: int = 60) -> Path:
    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "s-%03d.tar"), maxcount=25, verbose=0) as writer:
        for number in range(count):
            writer.write({"__key__": f"k{number:04d}", "cls": number % 7, "txt": f"text {number}" * 50})
    return folder
