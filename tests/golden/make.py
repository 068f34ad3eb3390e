"""`cd tests && python -m golden.make`: write the golden files that are not there yet; the others stay as they are."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from golden.recipes import HERE, LEAF, PARQUET, RECIPES, SHARDED, digest, noise, write
from holdfast import StreamingDataset
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import export_car, import_car
from holdfast.storage.blocks.disk import FORMAT, DiskStore
from holdfast.storage.blocks.hash_tree import hash_tree
from holdfast.storage.cid import CID
from holdfast.storage.dag import walk
from holdfast.storage.get import get
from holdfast.storage.node.pin_local import LocalPins
from holdfast.storage.sources.netguard import NetGuard
from support.mirror_server import MirrorServer
from support.published import publish_mirror
from support.running_node import RunningNode
from support.samples import collect

ROOTS = HERE / "roots.json"
GOLDEN = HERE / "v1"
ELSEWHERE = Path("/tmp/holdfast-golden")  # where the file lay that was published in place; the catalogue names it
FOREIGN = HERE.parent / "vectors" / "unixfs" / "kubo-blake3.car"


def root_of(name: str, place: Path) -> dict[str, str]:
    """Make the input of a recipe, publish it; what belongs into `roots.json`."""
    recipe = RECIPES[name]
    recipe.make(place / "source")
    if recipe.plain:
        root = hash_tree(place / "source", recipe.options["leaf_size"]).cid
        return {"source": digest(place / "source"), "root": str(root)}
    found = publish(place / "source", name="golden", repo=place / "repo", **recipe.options)
    line = {"source": digest(place / "source"), "root": str(found.root)}
    with DiskStore(place / "repo").open() as store:
        for number in (1, 2):
            export_car(store, found.root, place / "dag.car", version=number)
            line[f"car{number}"] = hashlib.sha256((place / "dag.car").read_bytes()).hexdigest()
    return line | ({"pyarrow": version("pyarrow")} if recipe.pyarrow else {})


def samples_digest(dataset: StreamingDataset) -> str:
    """Of every sample, in the order in which they come."""
    found = hashlib.sha256()
    for sample in collect(dataset):
        for key, value in sorted(sample.items()):
            found.update(f"{key}\0".encode())
            found.update(
                value if isinstance(value, bytes) else str(getattr(value, "tolist", lambda v=value: v)()).encode()
            )
    return found.hexdigest()


def every_block(store: DiskStore, root: CID) -> list[str]:
    """The CIDs of a whole DAG that is here, in CAR order."""
    steps = walk.dag_order(root, "all")
    found, cid = [], next(steps, None)
    while cid is not None:
        found.append(str(cid))
        data = store.get(cid).data
        try:
            cid = steps.send(data)
        except StopIteration:
            break
    return found


def _pack(folder: Path, target: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as file:
        for path in sorted(folder.rglob("*")):
            info = file.gettarinfo(path, str(path.relative_to(folder)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if path.is_file():
                with path.open("rb") as data:
                    file.addfile(info, data)
            else:
                file.addfile(info)


def _make_parquet() -> None:
    table = pa.table({"id": list(range(500)), "text": [f"row {n}" for n in range(500)]})
    pq.write_table(table, PARQUET, row_group_size=200)


def _make_folder(place: Path) -> dict[str, Any]:
    """Everything that a repository can hold."""
    repo = place / "repo"
    write(ELSEWHERE / "source", {"in-place.bin": noise(40, 3 * LEAF + 10)})
    in_place = publish(
        ELSEWHERE / "source", name="in-place", repo=repo, format="tokens", dtype="uint16", leaf_size=LEAF
    ).root
    RECIPES["loose files, into tars"].make(place / "loose")
    packed = publish(place / "loose", name="packed", repo=repo, **SHARDED).root
    RECIPES["small text, into parquet"].make(place / "text")
    text = publish(place / "text", name="text", repo=repo, leaf_size=LEAF).root
    write(place / "gone", {f"{n}.jpg": noise(60 + n, 4000) for n in range(8)})
    gone = publish(place / "gone", name="gone", repo=repo, leaf_size=LEAF).root
    write(place / "far", {"far.bin": noise(50, 4 * LEAF + 6)})
    pinned = CID.parse(
        publish_mirror(place / "other", place / "far", format="tokens", dtype="uint16", leaf_size=LEAF)[7:]
    )
    with (
        MirrorServer(place / "other" / "mirror") as origin,
        RunningNode(repo, guard=NetGuard.parse(["127.0.0.0/8"])) as node,
    ):
        assert node.settled(node.pin(pinned, origin.url, name="from a mirror"))["status"] == "pinned"
    with DiskStore(repo).open() as store:
        (foreign,) = import_car(store, FOREIGN).roots
        LocalPins(store).add(foreign, "from a CAR", ())
        LocalPins(store).rm("local-gone")
        roots = {"packed": packed, "text": text, "pinned": pinned, "foreign": foreign}
        blocks = {name: every_block(store, root) for name, root in roots.items()}
        get(f"ipfs://{packed}", place / "mirror", store=store)
    with MirrorServer(place / "mirror") as host, MirrorServer(place / "other" / "mirror") as other:
        streams = {
            "packed": samples_digest(
                StreamingDataset(f"ipfs://{packed}", sources=[host.url], seed=7, cache=place / "cache")
            ),
            "pinned": samples_digest(
                StreamingDataset(f"ipfs://{pinned}", sources=[other.url], seed=7, seq_len=100, cache=place / "no")
            ),
        }
    with DiskStore(repo).open() as store:
        store.catalog.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        store.catalog.rows("PRAGMA journal_mode = DELETE")  # a copy is one file; the next open makes it WAL again
    for name in ("serve.lock", "gc.lock", "sweep.lock", "import.lock"):
        (repo / name).unlink(missing_ok=True)
    for name in ("repo", "mirror", "cache"):
        _pack(place / name, GOLDEN / f"{name}.tar")
    return {
        "writer": f"holdfast {version('holdfast')}",
        "repository": FORMAT.strip(),
        "roots": {name: str(root) for name, root in roots.items()} | {"in-place": str(in_place), "gone": str(gone)},
        "missing": str(ELSEWHERE / "source" / "in-place.bin"),
        "blocks": blocks,
        "samples": streams,
    }


def main() -> None:
    """Add what is missing."""
    warnings.simplefilter("ignore")
    GOLDEN.mkdir(exist_ok=True)
    if not PARQUET.exists():
        _make_parquet()
    roots = json.loads(ROOTS.read_text()) if ROOTS.exists() else {}
    for name in RECIPES:
        if name not in roots:
            with tempfile.TemporaryDirectory() as folder:
                roots[name] = root_of(name, Path(folder))
    ROOTS.write_text(json.dumps(roots, indent=1, ensure_ascii=False) + "\n")
    if (GOLDEN / "about.json").exists():
        print(f"{GOLDEN} is there, and stays as it is", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            about = _make_folder(Path(folder))
        finally:
            shutil.rmtree(ELSEWHERE, ignore_errors=True)
    (GOLDEN / "about.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
