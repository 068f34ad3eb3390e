"""The trustless gateway and plain files, over real sockets."""

import asyncio
import http.client
import io
import logging
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from holdfast.storage.blocks.disk import DiskStore, reader
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag import walk
from holdfast.storage.dag.car import CarReader
from holdfast.storage.dag.dagpb import PBLink, PBNode, encode
from holdfast.storage.node.crowd import CrowdLimits
from support.running_node import Answer, RunningNode, publish_folder
from support.trees import LEAF, file_dag

EMPTY = "bafkqaaa"
FILES = {
    "data/a.bin": random.Random(1).randbytes(5 * LEAF + 77),
    "data/one.txt": b"one leaf\n",
    "data/<b>&'\".html": b"<script>alert(1)</script>",
    "data/ü %2F.bin": b"escaped",
    "empty": b"",
}


class Served:
    def __init__(self, node: RunningNode, folder: Path, root: CID) -> None:
        self.node, self.folder, self.root = node, folder, root
        self.layout, _, self.nodes = file_dag(FILES["data/a.bin"])

    def get(self, target: str, **headers: str) -> Answer:
        return self.node.get(target, **headers)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with DiskStore(folder / "repo").open() as store:
        root = publish_folder(store, folder / "src", FILES)
    with RunningNode(folder / "repo") as node:
        yield Served(node, folder / "src", root)


def _car(answer: Answer) -> list[CID]:
    assert answer.status == 200
    assert answer.whole
    return [block.cid for block in CarReader(io.BytesIO(answer.body))]


def _order(served: Served, root: CID, scope: walk.Scope) -> list[CID]:
    found: list[CID] = []

    def get(cid: CID) -> bytes:
        found.append(cid)
        return served.node.store.get(cid).data

    walk.run(walk.dag_order(root, scope), get)
    return found


def test_a_block_is_served_with_the_headers_of_the_specification(served: Served) -> None:
    leaf = served.layout.leaf_cid(1)
    answer = served.get(f"/ipfs/{leaf}?format=raw")
    assert answer.status == 200
    assert leaf.matches(answer.body)
    assert answer.headers["Content-Type"] == "application/vnd.ipld.raw"
    assert answer.headers["Cache-Control"] == "public, max-age=29030400, immutable"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{leaf}.bin"'
    assert answer.headers["X-Ipfs-Path"] == f"/ipfs/{leaf}"
    assert answer.headers["X-Ipfs-Roots"] == str(leaf)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["ETag"]
    assert served.get(f"/ipfs/{leaf}", Accept="application/vnd.ipld.raw").body == answer.body


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("?format=raw", "application/vnd.ipld.car", "raw"),
        ("?format=car", "application/vnd.ipld.raw", "car"),
        ("", "application/vnd.ipld.car; version=1; order=dfs", "car"),
        ("", "text/html,application/vnd.ipld.raw", "plain"),
    ],
)
def test_format_beats_accept(served: Served, query: str, accept: str, kind: str) -> None:
    answer = served.get(f"/ipfs/{served.layout.leaf_cid(0)}{query}", Accept=accept)
    assert answer.headers["Content-Type"].split(";")[0] == {
        "raw": "application/vnd.ipld.raw", "car": "application/vnd.ipld.car", "plain": "application/octet-stream"
    }[kind]  # fmt: skip


@pytest.mark.parametrize("header", ["bytes=3-9", "bytes=100-", "bytes=-5", "bytes=16000-99999"])
def test_a_range_of_a_block_and_of_a_file(served: Served, header: str) -> None:
    data = FILES["data/a.bin"]
    for target, whole in (
        (f"/ipfs/{served.layout.leaf_cid(0)}?format=raw", data[:LEAF]),
        (f"/ipfs/{served.layout.cid}", data),
        (f"/ipfs/{served.root}/data/a.bin", data),
    ):
        first, last = header.removeprefix("bytes=").split("-")
        start = int(first) if first else len(whole) - int(last)
        end = min(int(last) + 1, len(whole)) if first and last else len(whole)
        answer = served.get(target, Range=header)
        assert answer.status == 206
        assert answer.body == whole[start:end]
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(whole)}"


def test_ranges_beyond_the_end_are_refused_and_several_are_ignored(served: Served) -> None:
    target = f"/ipfs/{served.layout.cid}"
    answer = served.get(target, Range="bytes=99999999-")
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(FILES['data/a.bin'])}"
    for ignored in ("bytes=0-1,5-9", "bytes=-", "bytes=9-3", "lines=1-2", "bytes=x-"):
        assert (served.get(target, Range=ignored).status, ignored) == (200, ignored)
    assert served.get(target, Range="bytes=0-1", If_Range='"other"').status == 200


def test_the_probe_of_kubo_is_answered(served: Served) -> None:
    for method in ("GET", "HEAD"):
        answer = served.node.ask(method, f"/ipfs/{EMPTY}?format=raw")
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    car = CarReader(io.BytesIO(served.get(f"/ipfs/{EMPTY}?format=car").body))
    assert (car.roots, list(car)) == ((CID.parse(EMPTY),), [])


@pytest.mark.parametrize("scope", ["block", "entity", "all"])
@pytest.mark.parametrize("path", ["", "/data", "/data/a.bin", "/data/one.txt", "/empty"])
def test_a_car_holds_the_path_and_then_the_dag_in_order(served: Served, scope: walk.Scope, path: str) -> None:
    answer = served.get(f"/ipfs/{served.root}{path}?format=car&dag-scope={scope}")
    resolved = walk.run(walk.resolve(served.root, path.split("/")[1:]), reader(served.node.store))
    trail = [cid for cid in resolved.trail if cid != resolved.cid]
    assert _car(answer) == trail + _order(served, resolved.cid, scope)
    assert answer.headers["Content-Type"] == "application/vnd.ipld.car;version=1;order=dfs;dups=n"
    assert answer.headers["Accept-Ranges"] == "none"
    assert answer.headers["X-Ipfs-Roots"].split(",")[0] == str(served.root)
    assert answer.headers["X-Ipfs-Roots"].split(",")[-1] == str(resolved.cid)
    assert answer.headers["Content-Disposition"].endswith('.car"')


def test_files_have_their_bytes_and_a_type_guessed_by_name(served: Served) -> None:
    for path, data in FILES.items():
        escaped = path.replace("%", "%25").replace("ü", "%C3%BC").replace(" ", "%20").replace("<", "%3C")
        answer = served.get(f"/ipfs/{served.root}/{escaped}")
        assert (answer.status, answer.body) == (200, data), path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert served.get(f"/ipfs/{served.root}/data/one.txt").headers["Content-Type"] == "text/plain; charset=utf-8"
    assert served.get(f"/ipfs/{served.root}/data/a.bin").headers["Content-Type"] == "application/octet-stream"


def test_a_directory_is_a_page_or_json_and_names_are_escaped(served: Served) -> None:
    page = served.get(f"/ipfs/{served.root}/data", Accept="text/html").body.decode()
    assert "&lt;b&gt;&amp;&#x27;&quot;.html" in page
    assert "<b>" not in page
    assert "%C3%BC%20%252F.bin" in page
    listing = served.get(f"/ipfs/{served.root}/data/", Accept="application/json").json()
    assert [entry["name"] for entry in listing["entries"]] == sorted(
        (path.removeprefix("data/") for path in FILES if path.startswith("data/")), key=str.encode
    )


def test_head_says_what_get_says(served: Served) -> None:
    volatile = {"date", "transfer-encoding", "connection"}
    for target in (
        f"/ipfs/{served.layout.leaf_cid(0)}?format=raw",
        f"/ipfs/{served.root}?format=car",
        f"/ipfs/{served.root}/data/a.bin",
        f"/ipfs/{served.layout.leaf_cid(2)}",
        f"/ipfs/{served.root}/empty",
        f"/ipfs/{served.root}",
        f"/ipfs/{served.root}/absent",
    ):
        get, head = served.get(target), served.node.ask("HEAD", target)
        assert head.body == b""
        assert head.status == get.status
        said = [
            {k.lower(): v for k, v in answer.headers.items() if k.lower() not in volatile} for answer in (get, head)
        ]
        assert said[0] == said[1], target
        if "car" not in target:
            assert int(head.headers["Content-Length"]) == len(get.body)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ipfs/{absent}?format=raw", 404),
        ("/ipfs/{absent}?format=car", 404),
        ("/ipfs/{absent}", 404),
        ("/ipfs/{absentdir}/x?format=car", 404),
        ("/ipfs/{root}/nowhere", 404),
        ("/ipfs/{root}/empty/below", 404),
        ("/ipfs/{root}/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/ipfs/{root}/data%2Fa.bin", 404),
        ("/ipfs/{root}/..", 404),
        ("/ipfs/{root}/%00", 404),
        ("/ipfs/{root}/%ff", 400),
        ("/ipfs/nonsense?format=raw", 400),
        ("/ipfs/QmZ?format=raw", 400),
        ("/ipfs/{root}/data?format=raw", 400),
        ("/ipfs/{root}?format=car&dag-scope=everything", 400),
        ("/ipfs/{root}?format=tar", 406),
        ("/ipfs/{json}", 406),
        ("/ipfs/{json}?format=car", 406),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_kind(served: Served, target: str, status: int) -> None:
    absent = CID.of(RAW, b"absent")
    json = CID.of(0x0129, b"{}")  # dag-json
    served.node.store.put(json, b"{}")
    names = {"absent": absent, "absentdir": CID(1, 0x70, absent.multihash), "root": served.root, "json": json}
    answer = served.get(target.format(**names))
    assert answer.status == status, answer.body
    assert b"Traceback" not in answer.body
    assert str(served.folder.parent).encode() not in answer.body


def test_only_reading_is_allowed(served: Served) -> None:
    assert served.node.ask("POST", f"/ipfs/{served.root}").status == 405
    assert served.node.ask("OPTIONS", f"/ipfs/{served.root}").headers["Access-Control-Allow-Origin"] == "*"
    assert served.get("/").status == 404


def test_an_unknown_type_in_accept_is_refused(served: Served) -> None:
    assert served.get(f"/ipfs/{served.root}", Accept="application/vnd.ipld.dag-json").status == 406


def test_a_car_whose_child_is_missing_is_cut(served: Served) -> None:
    there, absent = served.layout.leaf_cid(0), CID.of(RAW, b"nobody has this")
    data = encode(PBNode((PBLink(there, "a", 1), PBLink(absent, "b", 1)), b"\x08\x01"))
    root = CID.of(0x70, data)
    served.node.store.put(root, data)
    answer = served.get(f"/ipfs/{root}?format=car")
    assert answer.status == 200
    assert not answer.whole


def test_500_requests_at_once(served: Served) -> None:
    async def one(session: aiohttp.ClientSession, number: int) -> bool:
        leaf = number % served.layout.leaves
        async with session.get(f"{served.node.url}/ipfs/{served.layout.leaf_cid(leaf)}?format=raw") as answer:
            return answer.status == 200 and served.layout.leaf_cid(leaf).matches(await answer.read())

    async def many() -> list[bool]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            return await asyncio.gather(*(one(session, number) for number in range(500)))

    assert all(asyncio.run(many()))


def test_more_requests_than_slots_wait_and_are_answered(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo", limits=CrowdLimits(max_requests=2)) as node:

        async def many() -> list[int]:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def one() -> int:
                    async with session.get(f"{node.url}/ipfs/{EMPTY}?format=raw") as answer:
                        return answer.status

                return await asyncio.gather(*(one() for _ in range(50)))

        assert asyncio.run(many()) == [200] * 50


# -- files that change under us


def _one_file(tmp_path: Path, data: bytes) -> tuple[Path, CID]:
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", {"f.bin": data})
    return tmp_path / "src" / "f.bin", root


def test_a_changed_file_is_not_served_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = random.Random(2).randbytes(4 * LEAF)
    file, root = _one_file(tmp_path, data)
    layout = file_dag(data)[0]
    with RunningNode(tmp_path / "repo") as node, caplog.at_level(logging.WARNING, "holdfast.node"):
        assert node.get(f"/ipfs/{root}/f.bin").body == data
        with file.open("r+b") as handle:
            handle.seek(2 * LEAF)
            handle.write(b"X")
        changed = node.get(f"/ipfs/{layout.leaf_cid(2)}?format=raw")
        again = node.get(f"/ipfs/{layout.leaf_cid(2)}?format=raw")
        same = node.get(f"/ipfs/{layout.leaf_cid(1)}?format=raw")
        whole = node.get(f"/ipfs/{root}/f.bin")
        car = node.get(f"/ipfs/{root}?format=car")
    assert (changed.status, again.status, same.status) == (404, 404, 200)
    assert str(file).encode() not in changed.body
    assert [record.getMessage().count(str(file)) for record in caplog.records] == [1]
    assert not whole.whole
    assert data.startswith(whole.body)
    assert not car.whole


def test_a_file_whose_bytes_changed_but_not_its_size_and_mtime_is_not_sent(tmp_path: Path) -> None:
    data = random.Random(5).randbytes(3 * LEAF)
    file, root = _one_file(tmp_path, data)
    before = file.stat()
    with RunningNode(tmp_path / "repo") as node:
        with file.open("r+b") as handle:
            handle.write(b"X")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert node.get(f"/ipfs/{root}/f.bin").status == 404


def test_a_file_that_changes_while_it_is_sent_ends_the_answer(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(64 << 20)
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "src", {"f.bin": data}, 1 << 20)
    file = tmp_path / "src" / "f.bin"
    with RunningNode(tmp_path / "repo") as node:
        connection = http.client.HTTPConnection("127.0.0.1", node.node.port, timeout=20)
        connection.request("GET", f"/ipfs/{root}/f.bin")
        response = connection.getresponse()
        got = response.read(1 << 20)
        with file.open("r+b") as handle:
            handle.seek(-1, 2)
            handle.write(b"X" if data[-1:] != b"X" else b"Y")
        with suppress(http.client.IncompleteRead, ConnectionResetError):
            while part := response.read(1 << 20):
                got += part
        connection.close()
    assert len(got) < len(data)
    assert data.startswith(got)


def test_a_replaced_file_is_not_served(tmp_path: Path) -> None:
    data = random.Random(4).randbytes(2 * LEAF)
    file, root = _one_file(tmp_path, data)
    with RunningNode(tmp_path / "repo") as node:
        assert node.get(f"/ipfs/{root}/f.bin").body == data
        other = file.with_name("other")
        other.write_bytes(bytes(len(data)))
        other.replace(file)
        assert node.get(f"/ipfs/{root}/f.bin").status == 404
        file.unlink()
        assert node.get(f"/ipfs/{root}/f.bin").status == 404
        file.write_bytes(data)
        time.sleep(0.03)
        assert node.get(f"/ipfs/{root}/f.bin").body == data
