"""Inputs of which the root is known: a folder and the options of its publish, the same on every machine."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KIB = 1 << 10
LEAF = 16 * KIB
PARQUET = HERE / "v1" / "as-it-lies.parquet"


@dataclass(frozen=True)
class Recipe:
    """`pyarrow`: its shards are packed as parquet, whose bytes depend on the version of pyarrow. `plain`: a folder of
    anything, hashed as `holdfast cid` does, and no dataset.
    """

    make: Callable[[Path], None]
    options: dict[str, Any] = field(default_factory=dict)
    pyarrow: bool = False
    plain: bool = False


def noise(seed: int, size: int) -> bytes:
    """Bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Files below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def tar(members: dict[str, bytes]) -> bytes:
    """A tar with fixed heads."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def digest(folder: Path) -> str:
    """Of all names and bytes in a folder: whether a recipe still makes what it made."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.is_file():
            data = path.read_bytes()
            found.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode() + data)
    return found.hexdigest()


def _tars(folder: Path) -> None:
    for shard in range(3):
        members = {}
        for n in range(8):
            key = f"s{shard}{n:03d}"
            members |= {f"{key}.jpg": noise(shard * 100 + n, 3000), f"{key}.cls": str(n % 3).encode()}
        write(folder, {f"shard-{shard:03d}.tar": tar(members)})


def _partitions(folder: Path) -> None:
    for number, place in enumerate(("en/2023", "en/2024", "fr", "de")):
        members = {f"{place.replace('/', '-')}-{n}.txt": noise(number * 50 + n, 700) for n in range(5)}
        write(folder, {f"{place}/part.tar": tar(members)})


def _loose(folder: Path) -> None:
    for n in range(40):
        write(
            folder,
            {f"{'ab'[n % 2]}/{n:04d}.jpg": noise(n, 2000 + n), f"{'ab'[n % 2]}/{n:04d}.cls": str(n % 7).encode()},
        )


def _odd_names(folder: Path) -> None:
    names = ["naïve/Größe.jpg", "日本/写真 1.jpg", f"{'long-' * 30}.jpg", "a.b.c.jpg", "UPPER.JPG"]
    write(folder, {name: noise(n, 900) for n, name in enumerate(names)})


def _tokens16(folder: Path) -> None:
    write(folder, {f"{n:03d}.bin": noise(n, 60_000 + 2 * n) for n in range(3)})


def _tokens32(folder: Path) -> None:
    write(folder, {f"{n:03d}.bin": noise(10 + n, 40_000 + 4 * n) for n in range(2)})


def _large_leaves(folder: Path) -> None:
    write(folder, {"one.bin": noise(5, 3 * KIB * KIB + 2), "two.bin": noise(6, KIB * KIB)})


def _many_leaves(folder: Path) -> None:
    write(folder, {"one.bin": noise(7, 17 * KIB * KIB)})  # more than 1,024 leaves of 16 KiB: two levels of nodes


def _parquet(folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(PARQUET, folder / "rows.parquet")


def _text(folder: Path) -> None:
    words = ["def", "return", "naïve", "import", "λ", "\r\n", "\n"]
    numbers = random.Random(3)
    for n in range(30):
        write(folder, {f"p{n % 3}/m{n}.py": " ".join(numbers.choices(words, k=200)).encode()})


def _jsonl(folder: Path) -> None:
    rows = [json.dumps({"id": n, "text": f"строка {n}", "score": n / 8}, ensure_ascii=False) for n in range(300)]
    write(folder, {"rows.jsonl": "\n".join(rows).encode() + b"\n"})


def _long_jsonl(folder: Path) -> None:
    for part in range(3):
        rows = [json.dumps({"id": part * 200 + n, "text": noise(part * 200 + n, 40).hex()}) for n in range(200)]
        write(folder, {f"rows{part}.jsonl": "\n".join(rows).encode() + b"\n"})


def _long_csv(folder: Path) -> None:
    rows = [f'{n},"{noise(n, 40).hex()}\n"' for n in range(600)]
    write(folder, {"rows.csv": ("id,text\n" + "\n".join(rows) + "\n").encode()})


def _csv(folder: Path) -> None:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["id", "text"])
    rows.writerows([n, f'a "quoted", row {n}'] for n in range(300))
    write(folder, {"rows.csv": out.getvalue().encode()})


def _tree(folder: Path) -> None:
    write(folder, {f"{'n' * 80}{n:04d}": str(n).encode() for n in range(2600)})  # a HAMT: above 256 KiB of links
    write(folder, {"below/empty": b"", "below/one leaf": noise(1, LEAF), "below/and a byte": noise(2, LEAF + 1)})


SMALL: dict[str, Any] = {"leaf_size": LEAF}
CUT: dict[str, Any] = {"leaf_size": LEAF, "shard_size": 16 * KIB}
SHARDED: dict[str, Any] = {"leaf_size": LEAF, "shard_size": 32 * KIB}

RECIPES = {
    "tar, as it lies": Recipe(_tars, SMALL),
    "tar, as it lies, default leaves": Recipe(_tars),
    "tar, as it lies, titled": Recipe(_tars, {"title": "Títle", "description": "d", "licence": "CC0-1.0"} | SMALL),
    "tar, as it lies, another shuffle": Recipe(_tars, {"shuffle_block": 64 * KIB} | SMALL),
    "tar, nested partitions": Recipe(_partitions, SMALL),
    "loose files, into tars": Recipe(_loose, SHARDED),
    "loose files, into one tar": Recipe(_loose, SMALL),
    "loose files, odd names": Recipe(_odd_names, SMALL),
    "tokens, 16 bits": Recipe(_tokens16, {"format": "tokens", "dtype": "uint16"} | SMALL),
    "tokens, 16 bits, leaves of 64 KiB": Recipe(
        _tokens16, {"format": "tokens", "dtype": "uint16", "leaf_size": 64 * KIB}
    ),
    "tokens, in lanes": Recipe(_tokens16, {"format": "tokens", "dtype": "uint16", "lanes": 4} | SMALL),
    "tokens, 32 bits": Recipe(_tokens32, {"format": "tokens", "dtype": "uint32"} | SMALL),
    "tokens, leaves of 1 MiB": Recipe(_large_leaves, {"format": "tokens", "dtype": "uint16"}),
    "tokens, two levels of nodes": Recipe(_many_leaves, {"format": "tokens", "dtype": "uint16"} | SMALL),
    "parquet, as it lies": Recipe(_parquet, SMALL),
    "a plain folder, sharded": Recipe(_tree, SMALL, plain=True),
    "small text, into parquet": Recipe(_text, SMALL, pyarrow=True),
    "JSONL, into parquet": Recipe(_jsonl, SMALL, pyarrow=True),
    "CSV, into parquet": Recipe(_csv, SMALL, pyarrow=True),
    "small text, into several parquets": Recipe(_text, CUT, pyarrow=True),
    "JSONL, into several parquets": Recipe(_long_jsonl, CUT, pyarrow=True),
    "CSV, into several parquets": Recipe(_long_csv, CUT, pyarrow=True),
}
