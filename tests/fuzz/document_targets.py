"""Parsers of documents, of our own files, of shards, and of requests and answers."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from fuzz import seeds
from fuzz.target import target
from holdfast.configs.roster import Roster
from holdfast.configs.settings import Settings
from holdfast.configs.sizes import parse_duration, parse_size
from holdfast.storage import manifest
from holdfast.storage.blocks.leaf_segment import Segment
from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.dag.entity_bytes import EntityBytes
from holdfast.storage.errors import HoldfastError, StoreError
from holdfast.storage.multiaddr import url_of
from holdfast.storage.node.accept import read_accept
from holdfast.storage.node.byte_range import read_range
from holdfast.storage.node.pin_body import PinBody
from holdfast.storage.node.pin_query import PinQuery
from holdfast.storage.node.refused import RefusedError
from holdfast.storage.node.wanted import read_wanted
from holdfast.storage.pins.answers import read_json, read_pin, read_reason
from holdfast.storage.shards import tar
from holdfast.storage.sources.retry_after import retry_after_s
from support.trees import LEAF, file_dag

# -- documents


@target(lambda: [seeds.published_file("dataset.json")], factor=3000)
def manifest_head(data: bytes) -> object:
    head = manifest.decode_head(data)
    return manifest.decode_head(manifest.encode_head(head))


@target(lambda: [seeds.published_file("manifest/00000.jsonl")], factor=3000)
def manifest_page(data: bytes) -> object:
    return list(manifest.decode_page(data, 0, manifest.decode_head(seeds.published_file("dataset.json"))))


_ROSTER = """format = 1
[[provider]]
name = "alice"
kind = "mirror"
url = "https://alice.example:4301"
operator = "Alice GmbH"
path_prefix = "corpora/"
max_rate = "50MB/s"
"""


@target(seeds.texts(_ROSTER), factor=3000)
def roster(data: bytes) -> object:
    return Roster.parse(data.decode("utf-8", "replace"), "r.toml")


@target(seeds.texts("[cache]\nmax_bytes = '1GiB'\n[fetch]\ndeadline = '3s'\nthreads = 2\n"), factor=3000)
def settings(data: bytes) -> object:
    return Settings.parse(data.decode("utf-8", "replace"), "c.toml")


@target(seeds.texts("16KiB", "1.5 GB", "30s", "250ms"))
def sizes(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    try:
        return parse_size(text)
    except HoldfastError:
        return parse_duration(text)


# -- files of our own that may have rotted


@target(lambda: [b"hf-leaf1" + (1).to_bytes(8, "little") + bytes(48)], (StoreError,))
def leaf_index_segment(data: bytes) -> object:
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(data)
        file.flush()
        segment = Segment(Path(file.name))
        segment.table()
        return list(segment.find(bytes(32)))


@target(lambda: [b"hf-mark1" + bytes(64) + b"\1\2\0\1"], (StoreError,))
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


@target(seeds.tars)
def tar_members(data: bytes) -> object:
    read = lambda start, end: data[start:end]
    found = list(tar.samples(read, len(data)))
    assert all(0 <= one.start <= one.end <= len(data) for one in found)
    return [tar.read_sample(memoryview(data)[one.start : one.end]) for one in found]


@target(seeds.samples)
def tar_sample(data: bytes) -> object:
    return tar.read_sample(memoryview(data))


# -- requests and answers


_PIN = {"requestid": "1", "status": "pinned", "created": "2026-01-01T00:00:00Z", "delegates": [], "info": {"a": "b"}}


@target(lambda: [json.dumps({**_PIN, "pin": {"cid": str(seeds.EXAMPLE_CID), "name": "n", "origins": []}}).encode()])
def pin_answer(data: bytes) -> object:
    read_reason(data)
    return read_pin(read_json(data))


_BODY = {"cid": str(seeds.EXAMPLE_CID), "name": "n", "origins": ["/ip4/1.2.3.4/tcp/80/http"]}


@target(lambda: [json.dumps(_BODY).encode()], (ValueError,))
def pin_body(data: bytes) -> object:
    return [url_of(origin) for origin in PinBody.parse(data).origins]


@target(seeds.texts("cid=bafkqaaa&name=x&match=exact&status=pinned&limit=10&meta={}"), (ValueError,))
def pin_query(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    return PinQuery.parse(dict(pair.split("=", 1) for pair in text.split("&") if "=" in pair))


@target(seeds.texts(
    "/ipfs/bafkqaaa/a/b\nformat=car&dag-scope=entity&entity-bytes=0:9&car-dups=y\napplication/vnd.ipld.car;version=1,*/*",
    "/ipfs/bafkqaaa\nformat=raw\n*/*",
), (RefusedError,))  # fmt: skip
def wanted(data: bytes) -> object:
    path, query, accept, *_ = [*data.decode("utf-8", "replace").split("\n"), "", ""]
    pairs = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
    return read_wanted(path, pairs, accept), read_accept(accept)


@target(seeds.texts("bytes=0-5", "bytes=-3", "bytes=7-", "bytes=1-2,4-5"), (RefusedError,))
def byte_range(data: bytes) -> object:
    found = read_range(data.decode("latin-1"), 100, etag="x")
    assert 0 <= found.start <= found.end <= 100
    return found


@target(seeds.texts("0:5", "-3:*", "5:-1"))
def entity_bytes(data: bytes) -> object:
    start, end = EntityBytes.parse(data.decode("utf-8", "replace")).within(100)
    return start, end


@target(seeds.texts("http://a.example:80/", "/dns4/a.example/tcp/443/tls/http/p2p/x"), ())
def origin(data: bytes) -> object:
    return url_of(data.decode("utf-8", "surrogateescape"))


@target(seeds.texts("7", "Thu, 01 Jan 1970 00:00:30 GMT"), ())
def retry_after(data: bytes) -> object:
    assert 0 <= retry_after_s(data.decode("latin-1")) <= 60
    return None
