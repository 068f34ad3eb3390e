"""Repositories that have something of every kind that a repository can hold."""

from __future__ import annotations

import random
from pathlib import Path

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import export_car, import_car
from holdfast.storage.blocks.disk import DiskStore

KIB = 1 << 10
LEAF = 16 * KIB


def every_kind(place: Path) -> Path:
    """`place/repo`: files of the user's in `place/tokens`, packed shards, nodes. `place/other`: a CAR."""
    numbers = random.Random(3)
    for number in range(3):
        path = place / f"tokens/t{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(numbers.randbytes(150 * KIB + 2 * number))
    for number in range(6):
        path = place / f"text/t{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(numbers.randbytes(30 * KIB).hex())
    publish(place / "tokens", name="a", repo=place / "repo", format="tokens", dtype="uint16", leaf_size=LEAF)
    root = publish(place / "text", name="b", repo=place / "repo", leaf_size=LEAF, shard_size=64 * KIB).root
    with DiskStore(place / "repo").open() as store:
        export_car(store, root, place / "b.car")
    with DiskStore(place / "other").open() as store:
        import_car(store, place / "b.car")
    return place
