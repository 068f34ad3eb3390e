"""What this version and all before it wrote, this version reads. See README.md for the rule."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from golden.make import FOREIGN, GOLDEN, ROOTS, every_block, root_of, samples_digest
from golden.recipes import RECIPES
from holdfast import StreamingDataset
from holdfast.storage.blocks.car_file import export_car, first_missing
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.collect import collect as gc
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.errors import FileChangedError
from holdfast.storage.get import get
from holdfast.storage.node.pin_local import LocalPins
from holdfast.storage.verify import verify_folder
from support.ageing import age
from support.mirror_server import MirrorServer
from support.running_node import RunningNode

ABOUT: dict[str, Any] = json.loads((GOLDEN / "about.json").read_text())
KNOWN: dict[str, dict[str, str]] = json.loads(ROOTS.read_text())
NOBODY = "http://127.0.0.1:1"


def unpack(name: str, place: Path) -> Path:
    with tarfile.open(GOLDEN / f"{name}.tar") as file:
        file.extractall(place / name, filter="data")
    return place / name


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return unpack("repo", tmp_path)


def test_every_recipe_has_its_line() -> None:
    assert KNOWN.keys() == RECIPES.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_input_has_the_same_root(name: str, tmp_path: Path) -> None:
    known = KNOWN[name]
    if known.get("pyarrow", version("pyarrow")) != version("pyarrow"):
        pytest.skip(f"parquet of pyarrow {known['pyarrow']}, and this is {version('pyarrow')}")
    found = root_of(name, tmp_path)
    assert found["source"] == known["source"], "the recipe makes other files: nothing is wrong with publish"
    assert found == known


def test_a_golden_repository_is_whole_but_for_what_lay_elsewhere(repo: Path) -> None:
    with DiskStore(repo).open(create=False) as store:
        done = Checked()
        faults = list(check(store, done))
        assert [(fault.file, fault.offset) for fault in faults] == [(ABOUT["missing"], 0)]
        assert done.files > 10
        for name, blocks in ABOUT["blocks"].items():
            root = CID.parse(ABOUT["roots"][name])
            assert first_missing(store, root) is None
            assert every_block(store, root) == blocks
        with pytest.raises(FileChangedError, match=r"in-place\.bin"):
            every_block(store, CID.parse(ABOUT["roots"]["in-place"]))


def test_a_golden_repository_is_served(repo: Path) -> None:
    with RunningNode(repo) as node:
        for text in sorted({text for blocks in ABOUT["blocks"].values() for text in blocks}):
            answer = node.get(f"/ipfs/{text}?format=raw")
            assert answer.status == 200, text
            assert CID.parse(text).matches(answer.body)
        pins = node.get("/pins").json()["results"]
        assert {pin["pin"]["cid"]: pin["status"] for pin in pins} == {
            ABOUT["roots"][name]: "pinned" for name in ("in-place", "packed", "text", "pinned", "foreign")
        }
        for name in ("packed", "pinned"):
            dataset = StreamingDataset(
                f"ipfs://{ABOUT['roots'][name]}", sources=[node.url], seed=7, cache=repo.parent / f"cache-{name}",
                seq_len=100 if name == "pinned" else None,
            )  # fmt: skip
            assert samples_digest(dataset) == ABOUT["samples"][name]


def test_golden_names_and_pins_are_listed_and_kept(repo: Path) -> None:
    with DiskStore(repo).open(create=False) as store:
        assert {name: str(root) for name, root in store.catalog.names().items()} == {
            name: ABOUT["roots"][name] for name in ("in-place", "packed", "text")
        }
        assert {pin.name: str(pin.cid) for pin in LocalPins(store).ls()} == {
            "in-place": ABOUT["roots"]["in-place"], "packed": ABOUT["roots"]["packed"], "text": ABOUT["roots"]["text"],
            "from a mirror": ABOUT["roots"]["pinned"], "from a CAR": ABOUT["roots"]["foreign"],
        }  # fmt: skip
        age(store)
        assert first_missing(store, CID.parse(ABOUT["roots"]["gone"])) is None
        freed = gc(store)
        assert freed.files > 0
        assert freed.nodes > 0
        assert freed.missing == 0
        assert first_missing(store, CID.parse(ABOUT["roots"]["gone"])) is not None
        for name, blocks in ABOUT["blocks"].items():
            assert every_block(store, CID.parse(ABOUT["roots"][name])) == blocks
        assert len(list(check(store, Checked()))) == 1


def test_a_golden_import_is_exported_again(repo: Path, tmp_path: Path) -> None:
    with DiskStore(repo).open(create=False) as store:
        export_car(store, CID.parse(ABOUT["roots"]["foreign"]), tmp_path / "again.car")
    assert (tmp_path / "again.car").read_bytes() == FOREIGN.read_bytes()


def test_a_get_from_it_is_the_golden_mirror(repo: Path, tmp_path: Path) -> None:
    golden = unpack("mirror", tmp_path)
    with DiskStore(repo).open(create=False) as store:
        get(f"ipfs://{ABOUT['roots']['packed']}", tmp_path / "copy", store=store)
    assert files_in(tmp_path / "copy") == files_in(golden)


def test_a_golden_mirror_is_a_provider(tmp_path: Path) -> None:
    golden = unpack("mirror", tmp_path)
    root = CID.parse(ABOUT["roots"]["packed"])
    assert verify_folder(golden, root, lambda _: None).ok
    with MirrorServer(golden) as host:
        dataset = StreamingDataset(f"ipfs://{root}", sources=[host.url], seed=7, cache=tmp_path / "fresh")
        assert samples_digest(dataset) == ABOUT["samples"]["packed"]


def test_a_golden_cache_needs_no_source(tmp_path: Path) -> None:
    dataset = StreamingDataset(
        f"ipfs://{ABOUT['roots']['packed']}", sources=[NOBODY], seed=7, cache=unpack("cache", tmp_path), deadline_s=5
    )
    assert samples_digest(dataset) == ABOUT["samples"]["packed"]


# Below, the formats are read as docs/formats.md has them, by other code than ours.


def test_the_leaf_segments_are_as_documented(repo: Path) -> None:
    database = sqlite3.connect(repo / "catalog.db")
    paths = {number: path.decode() for number, path in database.execute("SELECT id, path FROM files")}
    database.close()
    leaves = 0
    for segment in (repo / "leaves").glob("*.leaves"):
        data = segment.read_bytes()
        magic, count = struct.unpack_from("<8sQ", data)
        assert magic == b"hf-leaf1"
        assert len(data) == 16 + 48 * count
        digests = [data[16 + 32 * n : 48 + 32 * n] for n in range(count)]
        assert digests == sorted(digests)
        for n, digest in enumerate(digests):
            file, length, offset = struct.unpack_from("<IIQ", data, 16 + 32 * count + 16 * n)
            if not paths[file].startswith("/"):  # the golden repository's own, wherever it lies
                content = (repo / paths[file]).read_bytes()[offset : offset + length]
                assert hashlib.sha256(content).digest() == digest
                leaves += 1
    assert leaves > 20


def test_the_marks_are_as_documented(tmp_path: Path) -> None:
    shards = unpack("cache", tmp_path) / "shards"
    found = 0
    for marks in shards.glob("*.marks"):
        data, shard = marks.read_bytes(), marks.with_suffix("").read_bytes()
        magic, _, size, leaf_size = struct.unpack_from("<8s3Q", data)
        assert magic == b"hf-mark1"
        assert size == len(shard)
        assert len(data) == 72 + max(-(-size // leaf_size), 1)
        assert set(data[72:]) == {1}
        found += 1
    assert found > 3


def test_the_manifest_is_as_documented(tmp_path: Path) -> None:
    golden = unpack("mirror", tmp_path)
    head = json.loads((golden / "dataset.json").read_bytes())
    assert head["format"] == "holdfast-dataset"
    assert head["version"] == [1, 0]
    page = (golden / "manifest/00000.jsonl").read_bytes()
    shards = [json.loads(line) for line in page.splitlines()]
    assert len(shards) == head["shards"]
    first = 0
    for shard in shards:
        assert shard["first_sample"] == first
        assert (golden / shard["path"]).stat().st_size == shard["bytes"]
        index = (golden / shard["index"]["path"]).read_bytes()
        offsets = struct.unpack(f"<{len(index) // 8}Q", index)
        assert len(offsets) == shard["samples"] + 1
        assert offsets[0] == 0
        first += shard["samples"]
    assert first == head["samples"]
    canonical = json.dumps(shards[0], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert page.splitlines()[0].decode() == canonical
