"""Valid examples of every format, to be mutated."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag import dagpb, unixfs
from holdfast.storage.dag.car import CarReader
from holdfast.storage.shards import tar
from support.trees import LEAF, file_dag

VECTORS = Path(__file__).parents[1] / "vectors"

EXAMPLE_CID = CID.of(RAW, b"hello")


def cids() -> list[bytes]:
    return [bytes(EXAMPLE_CID), bytes(CID(0, DAG_PB, EXAMPLE_CID.multihash)), b"\x01\x55\x00\x05hello"]


def cid_texts() -> list[bytes]:
    text = str(EXAMPLE_CID)
    more = [f"f{bytes(EXAMPLE_CID).hex()}", "bafkqaaa", "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"]
    return [one.encode() for one in [text, *more]]


def uris() -> list[bytes]:
    return [b"ipfs://" + text + b"/a/b%20c" for text in cid_texts()] + [b"/ipfs/bafkqaaa", b"ipns://x"]


def vectors(codec: str) -> list[bytes]:
    found = json.loads((VECTORS / "codecs.json").read_text())["vectors"]
    return [bytes.fromhex(vector["hex"]) for vector in found if vector["codec"] == codec and len(vector["hex"]) < 2000]


def cars() -> list[bytes]:
    found = [bytes.fromhex(vector["hex"]) for vector in json.loads((VECTORS / "cars.json").read_text())["vectors"]]
    small = [path for path in sorted((VECTORS / "unixfs").glob("*.car")) if path.stat().st_size < 4096]
    return [data for data in found if len(data) < 4096] + [path.read_bytes() for path in small[:4]]


def nodes() -> list[bytes]:
    """Blocks of directories, HAMTs and files, as Kubo and Helia made them."""
    found = []
    for name in ("kubo-links", "kubo-hamt-16", "helia-small-chunks", "kubo-mode-mtime", "kubo-inline"):
        path = VECTORS / f"unixfs/{name}.car"
        if path.exists():
            with path.open("rb") as stream:
                found += [
                    block.data for block in CarReader(stream) if block.cid.codec == DAG_PB and len(block.data) < 3000
                ][:3]
    return [*found, file_dag(bytes(5 * LEAF + 7))[2][-1].data]


def unixfs_data() -> list[bytes]:
    return [data for block in nodes() if (data := dagpb.decode(block).data)]


def dags() -> list[bytes]:
    """Several blocks in a row: length (two bytes), bytes; the last is the root."""
    blocks = [b"leaf", *nodes()[:3]]
    return [b"".join(len(block).to_bytes(2, "big") + block for block in blocks), dag_of_links(3)]


def dag_of_links(depth: int) -> bytes:
    blocks, below = [], bytes(8)
    for _ in range(depth):
        blocks.append(below)
        about = unixfs.UnixFSNode(unixfs.NodeType.FILE, filesize=16, blocksizes=(8, 8))
        codec = RAW if len(blocks) == 1 else DAG_PB
        links = (dagpb.PBLink(CID.of(codec, below), "", 8),) * 2
        below = dagpb.encode(dagpb.PBNode(links, unixfs.encode(about)))
    return b"".join(len(block).to_bytes(2, "big") + block for block in [*blocks, below])


def texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


def _published() -> dict[str, bytes]:
    from holdfast.pipeline.publish import publish
    from support.sources import tree_of

    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "src")
        source.mkdir()
        for number in range(3):
            (source / f"{number}.txt").write_text(f"text {number}")
        root = publish(source, name="seed", repo=Path(place, "repo"), leaf_size=LEAF).root
        from holdfast.storage.blocks.disk import DiskStore

        with DiskStore(Path(place, "repo")).open() as store:
            return tree_of(store, root)


_PUBLISHED: dict[str, bytes] = {}


def published_file(name: str) -> bytes:
    if not _PUBLISHED:
        _PUBLISHED.update(_published())
    return _PUBLISHED[name]


def tars() -> list[bytes]:
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
            for name in (
                "a.txt",
                "a.json",
                "ü" * 30 + ".txt",
                *(() if kind == tarfile.USTAR_FORMAT else ("x" * 120 + ".b",)),
            ):
                member = tarfile.TarInfo(name)
                member.size = 5
                archive.addfile(member, io.BytesIO(b"hello"))
        found.append(out.getvalue())
    return found


def samples() -> list[bytes]:
    found = []
    for data in tars():
        first = next(tar.samples(lambda start, end, data=data: data[start:end], len(data)))  # type: ignore[misc]
        found.append(data[first.start : first.end])
    return found
