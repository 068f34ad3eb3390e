"""Every parser of foreign bytes as a function of bytes, with its seeds: for Hypothesis and for the fuzzer.

A target may raise what its `errors` name and nothing else. Where there is an encoder, what was read is written again
and must give the same bytes.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.configs.roster import Roster
from holdfast.configs.settings import Settings
from holdfast.configs.sizes import parse_duration, parse_size
from holdfast.storage import manifest
from holdfast.storage.blocks.leaf_index import _Segment
from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.dag import dagcbor, dagpb, hamt, protobuf, unixfs, walk
from holdfast.storage.dag.car import CarReader
from holdfast.storage.dag.entity_bytes import EntityBytes, bytes_order
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.errors import BlockMissingError, HoldfastError, StoreError
from holdfast.storage.node.accept import read_accept
from holdfast.storage.node.byte_range import read_range
from holdfast.storage.node.origins import origin_url
from holdfast.storage.node.pin_body import PinBody
from holdfast.storage.node.pin_query import PinQuery
from holdfast.storage.node.refused import RefusedError
from holdfast.storage.node.wanted import read_wanted
from holdfast.storage.pins.answers import read_json, read_pin, read_reason
from holdfast.storage.shards import tar
from holdfast.storage.sources.retry_after import retry_after_s
from holdfast.storage.uri import DatasetUri
from holdfast.storage.varint import read_uvarint, uvarint
from support.trees import LEAF, file_dag

VECTORS = Path(__file__).parents[1] / "vectors"


@dataclass(frozen=True)
class Target:
    """`factor`: bytes of memory for each byte of input, above a constant."""

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    errors: tuple[type[Exception], ...] = (HoldfastError,)
    factor: int = 600


TARGETS: dict[str, Target] = {}


def _target(
    seeds: Callable[[], list[bytes]], errors: tuple[type[Exception], ...] = (HoldfastError,), factor: int = 600
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    def add(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[run.__name__] = Target(run.__name__, run, seeds, errors, factor)
        return run

    return add


# -- seeds

EXAMPLE_CID = CID.of(RAW, b"hello")


def _cids() -> list[bytes]:
    return [bytes(EXAMPLE_CID), bytes(CID(0, DAG_PB, EXAMPLE_CID.multihash)), b"\x01\x55\x00\x05hello"]


def _cid_texts() -> list[bytes]:
    text = str(EXAMPLE_CID)
    more = [f"f{bytes(EXAMPLE_CID).hex()}", "bafkqaaa", "QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"]
    return [one.encode() for one in [text, *more]]


def _uris() -> list[bytes]:
    return [b"ipfs://" + text + b"/a/b%20c" for text in _cid_texts()] + [b"/ipfs/bafkqaaa", b"ipns://x"]


def _vectors(codec: str) -> list[bytes]:
    found = json.loads((VECTORS / "codecs.json").read_text())["vectors"]
    return [bytes.fromhex(vector["hex"]) for vector in found if vector["codec"] == codec and len(vector["hex"]) < 2000]


def _cars() -> list[bytes]:
    found = [bytes.fromhex(vector["hex"]) for vector in json.loads((VECTORS / "cars.json").read_text())["vectors"]]
    small = [path for path in sorted((VECTORS / "unixfs").glob("*.car")) if path.stat().st_size < 4096]
    return [data for data in found if len(data) < 4096] + [path.read_bytes() for path in small[:4]]


def _nodes() -> list[bytes]:
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


def _unixfs() -> list[bytes]:
    return [data for block in _nodes() if (data := dagpb.decode(block).data)]


def _dags() -> list[bytes]:
    """Several blocks in a row: length (two bytes), bytes; the last is the root."""
    blocks = [b"leaf", *_nodes()[:3]]
    return [b"".join(len(block).to_bytes(2, "big") + block for block in blocks), _dag_of_links(3)]


def _dag_of_links(depth: int) -> bytes:
    blocks, below = [], bytes(8)
    for _ in range(depth):
        blocks.append(below)
        about = unixfs.UnixFSNode(unixfs.NodeType.FILE, filesize=16, blocksizes=(8, 8))
        codec = RAW if len(blocks) == 1 else DAG_PB
        links = (dagpb.PBLink(CID.of(codec, below), "", 8),) * 2
        below = dagpb.encode(dagpb.PBNode(links, unixfs.encode(about)))
    return b"".join(len(block).to_bytes(2, "big") + block for block in [*blocks, below])


def _texts(*texts: str) -> Callable[[], list[bytes]]:
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


def _file(name: str) -> bytes:
    if not _PUBLISHED:
        _PUBLISHED.update(_published())
    return _PUBLISHED[name]


def _tars() -> list[bytes]:
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


# -- bytes of CIDs, varints and codecs


@_target(lambda: [uvarint(n) for n in (0, 127, 128, 1 << 40, (1 << 63) - 1)])
def varint(data: bytes) -> object:
    value, end = read_uvarint(data, 0)
    assert uvarint(value) == data[:end]
    return value


@_target(_cids)
def cid_binary(data: bytes) -> object:
    cid, end = CID.read(data, 0)
    assert bytes(cid) == data[:end]
    assert CID.parse(str(cid)) == cid
    return cid


@_target(_cid_texts)
def cid_text(data: bytes) -> object:
    cid = CID.parse(data.decode("utf-8", "surrogateescape"))
    assert CID.parse(str(cid)) == cid
    cid.matches(b"x")
    return cid.short()


@_target(_uris)
def uri(data: bytes) -> object:
    found = DatasetUri.parse(data.decode("utf-8", "surrogateescape"))
    return str(found)


@_target(_nodes)
def protobuf_fields(data: bytes) -> object:
    return list(protobuf.fields(data))


@_target(lambda: _vectors("dag-pb") + _nodes())
def dag_pb(data: bytes) -> object:
    node = dagpb.decode(data)
    assert dagpb.decode(dagpb.encode(node)) == node
    return node


@_target(_unixfs)
def unixfs_data(data: bytes) -> object:
    about = unixfs.decode(data)
    assert unixfs.decode(unixfs.encode(about)) == about
    return about


@_target(lambda: _vectors("dag-cbor"), factor=2000)
def dag_cbor(data: bytes) -> object:
    value = dagcbor.decode(data)
    assert dagcbor.encode(value) == data
    return dagcbor.links_of(value)


@_target(_nodes)
def hamt_shard(data: bytes) -> object:
    node = dagpb.decode(data)
    return hamt.read_shard(node, unixfs.decode(node.data or b""))


# -- walks over blocks that name each other


def _blocks(data: bytes) -> tuple[dict[bytes, bytes], CID]:
    found, last, at = {}, b"", 0
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        last = data[at + 2 : at + 2 + length]
        found[CID.of(RAW, last).multihash] = last
        at += 2 + length
    return found, CID.of(DAG_PB, last)


def _walked(steps: Any, data: Callable[[CID], bytes], limit: int = 5000) -> int:
    """A walk that yields as it goes, up to `limit` blocks."""
    count = 0
    cid = next(steps, None)
    while cid is not None and count < limit:
        count += 1
        try:
            cid = steps.send(b"" if cid.codec == RAW else data(cid))
        except StopIteration:
            break
    steps.close()
    return count


@_target(_dags, factor=20_000)
def walks(data: bytes) -> object:
    """Directory, path, file layout, content and CAR order of the last block: each may fail in its own way."""
    known, root = _blocks(data)

    def get(cid: CID) -> bytes:
        if cid.multihash not in known:
            raise BlockMissingError("not in the input")
        return known[cid.multihash]

    done: list[object] = []
    for step in (
        lambda: walk.run(walk.list_directory(root, max_entries=2000), get),
        lambda: walk.run(walk.resolve(root, ("a", "b")), get),
        lambda: walk.run(walk.link_target(root), get),
        lambda: _layout(walk.run(walk.file_layout(root, max_leaves=5000), get)),
        lambda: _read_all(walk.ContentWalk(root, max_parts=2000), get),
        lambda: _walked(walk.dag_order(root, "all"), get),
        lambda: _walked(walk.dag_order(root, "entity"), get),
        lambda: _walked(bytes_order(root, EntityBytes(3, 90)), get),
    ):
        try:
            done.append(step())
        except HoldfastError:
            continue
    return done


def _layout(layout: FileLayout) -> object:
    assert layout.leaves <= 5000
    assert sum(layout.leaf_length(leaf) for leaf in range(layout.leaves)) == layout.size
    return layout


def _read_all(content: walk.ContentWalk, get: Callable[[CID], bytes]) -> int:
    total = 0
    while (part := content.next()) is not None:
        total += len(content.take(get(part.cid)))
    return total


@_target(_cars)
def car(data: bytes) -> object:
    reader = CarReader(io.BytesIO(data))
    return [block.cid for block in reader], reader.roots


class _OneByOne(io.BytesIO):
    """A pipe: fewer bytes than were asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 3) if size and size > 0 else size)


@_target(_cars)
def car_from_a_pipe(data: bytes) -> object:
    def outcome(stream: io.BytesIO) -> object:
        reader = CarReader(stream)
        found: list[object] = []
        try:
            found += [section.data_offset for section in reader.sections()]
        except HoldfastError as error:
            found.append(str(error))
        return found

    assert outcome(io.BytesIO(data)) == outcome(_OneByOne(data))
    return None


# -- documents


@_target(lambda: [_file("dataset.json")], factor=3000)
def manifest_head(data: bytes) -> object:
    head = manifest.decode_head(data)
    return manifest.decode_head(manifest.encode_head(head))


@_target(lambda: [_file("manifest/00000.jsonl")], factor=3000)
def manifest_page(data: bytes) -> object:
    return manifest.decode_page(data, 0, manifest.decode_head(_file("dataset.json")))


_ROSTER = """format = 1
[[provider]]
name = "alice"
kind = "mirror"
url = "https://alice.example:4301"
operator = "Alice GmbH"
path_prefix = "corpora/"
max_rate = "50MB/s"
"""


@_target(_texts(_ROSTER), factor=3000)
def roster(data: bytes) -> object:
    return Roster.parse(data.decode("utf-8", "replace"), "r.toml")


@_target(_texts("[cache]\nmax_bytes = '1GiB'\n[fetch]\ndeadline = '3s'\nthreads = 2\n"), factor=3000)
def settings(data: bytes) -> object:
    return Settings.parse(data.decode("utf-8", "replace"), "c.toml")


@_target(_texts("16KiB", "1.5 GB", "30s", "250ms"))
def sizes(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    try:
        return parse_size(text)
    except HoldfastError:
        return parse_duration(text)


# -- files of our own that may have rotted


@_target(lambda: [b"hf-leaf1" + (1).to_bytes(8, "little") + bytes(48)], (StoreError,))
def leaf_index_segment(data: bytes) -> object:
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(data)
        file.flush()
        segment = _Segment(Path(file.name))
        segment.table()
        return list(segment.find(bytes(32)))


@_target(lambda: [b"hf-mark1" + bytes(64) + b"\1\2\0\1"], (StoreError,))
def marks(data: bytes) -> object:
    """Whatever the marks say, nothing is believed that does not hash to what it should be."""
    layout = file_dag(bytes(3 * LEAF + 9))[0]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        path = Path(place, "x")
        path.write_bytes(random.Random(1).randbytes(layout.size))
        Path(place, "x.marks").write_bytes(data)
        with VerifiedFile(path, Path(place, "x.marks"), layout).open(7) as file:
            assert not [leaf for leaf in range(layout.leaves) if file.has(leaf)]
    return None


# -- shards


@_target(_tars)
def tar_members(data: bytes) -> object:
    read = lambda start, end: data[start:end]
    found = list(tar.samples(read, len(data)))
    assert all(0 <= one.start <= one.end <= len(data) for one in found)
    return [tar.read_sample(memoryview(data)[one.start : one.end]) for one in found]


def _samples() -> list[bytes]:
    found = []
    for data in _tars():
        first = next(tar.samples(lambda start, end, data=data: data[start:end], len(data)))  # type: ignore[misc]
        found.append(data[first.start : first.end])
    return found


@_target(_samples)
def tar_sample(data: bytes) -> object:
    return tar.read_sample(memoryview(data))


# -- requests and answers


_PIN = {"requestid": "1", "status": "pinned", "created": "2026-01-01T00:00:00Z", "delegates": [], "info": {"a": "b"}}


@_target(lambda: [json.dumps({**_PIN, "pin": {"cid": str(EXAMPLE_CID), "name": "n", "origins": []}}).encode()])
def pin_answer(data: bytes) -> object:
    read_reason(data)
    return read_pin(read_json(data))


@_target(lambda: [json.dumps({"cid": str(EXAMPLE_CID), "name": "n", "origins": ["/ip4/1.2.3.4/tcp/80/http"]}).encode()],
         (ValueError,))  # fmt: skip
def pin_body(data: bytes) -> object:
    return [origin_url(origin) for origin in PinBody.parse(data).origins]


@_target(_texts("cid=bafkqaaa&name=x&match=exact&status=pinned&limit=10&meta={}"), (ValueError,))
def pin_query(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    return PinQuery.parse(dict(pair.split("=", 1) for pair in text.split("&") if "=" in pair))


@_target(_texts(
    "/ipfs/bafkqaaa/a/b\nformat=car&dag-scope=entity&entity-bytes=0:9&car-dups=y\napplication/vnd.ipld.car;version=1,*/*",
    "/ipfs/bafkqaaa\nformat=raw\n*/*",
), (RefusedError,))  # fmt: skip
def wanted(data: bytes) -> object:
    path, query, accept, *_ = [*data.decode("utf-8", "replace").split("\n"), "", ""]
    pairs = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
    return read_wanted(path, pairs, accept), read_accept(accept)


@_target(_texts("bytes=0-5", "bytes=-3", "bytes=7-", "bytes=1-2,4-5"), (RefusedError,))
def byte_range(data: bytes) -> object:
    found = read_range(data.decode("latin-1"), 100, etag="x")
    assert 0 <= found.start <= found.end <= 100
    return found


@_target(_texts("0:5", "-3:*", "5:-1"))
def entity_bytes(data: bytes) -> object:
    start, end = EntityBytes.parse(data.decode("utf-8", "replace")).within(100)
    return start, end


@_target(_texts("http://a.example:80/", "/dns4/a.example/tcp/443/tls/http/p2p/x"), ())
def origin(data: bytes) -> object:
    return origin_url(data.decode("utf-8", "surrogateescape"))


@_target(_texts("7", "Thu, 01 Jan 1970 00:00:30 GMT"), ())
def retry_after(data: bytes) -> object:
    assert 0 <= retry_after_s(data.decode("latin-1")) <= 60
    return None


def found_inputs() -> Iterator[tuple[str, bytes]]:
    """Inputs that once broke a target: `found/<target>-<number>.hex`."""
    for path in sorted((Path(__file__).parent / "found").glob("*.hex")):
        yield path.stem.rpartition("-")[0], bytes.fromhex(path.read_text())


__all__ = ["TARGETS", "Target", "found_inputs"]
