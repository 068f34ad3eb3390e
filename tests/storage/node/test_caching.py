"""ETag, If-None-Match, only-if-cached, and what an answer is to be saved as."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterator

import pytest

from holdfast.storage.cid import CID
from support.dags import Dag
from support.running_node import RunningNode

ABSENT = CID.of(0x55, b"absent")


class Tree:
    def __init__(self, node: RunningNode) -> None:
        self.node, self.dag = node, Dag(node.store)
        self.leaf = self.dag.raw(b"some text")
        self.file = self.dag.file((self.leaf, 9), (self.leaf, 9))
        self.root = self.dag.directory(**{"a.txt": self.leaf, "file": self.file, "naïve “x”.txt": self.leaf})
        self.targets = [
            f"/ipfs/{self.leaf}?format=raw",
            f"/ipfs/{self.root}?format=car",
            f"/ipfs/{self.root}/file?format=car&entity-bytes=0:3",
            f"/ipfs/{self.root}/file",
            f"/ipfs/{self.leaf}",
            f"/ipfs/{self.root}",
        ]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    with RunningNode(tmp_path_factory.mktemp("caching") / "repo") as node:
        yield Tree(node)


def test_who_has_it_gets_304_without_a_body(tree: Tree) -> None:
    for target in tree.targets:
        whole = tree.node.get(target)
        etag = whole.headers["ETag"]
        strong = etag.removeprefix("W/")
        for given in (etag, strong, f"W/{strong}", f'"other", {etag}', f'W/"x" ,{strong}', "*"):
            for method in ("GET", "HEAD"):
                answer = tree.node.ask(method, target, {"If-None-Match": given})
                assert (answer.status, answer.body) == (304, b""), (target, given)
                for name in ("ETag", "Cache-Control", "X-Ipfs-Path", "X-Ipfs-Roots", "Vary", "Content-Location"):
                    assert answer.headers[name] == whole.headers[name]
                assert answer.headers["Content-Length"] in (None, "0")
        for given in ('"other"', "", strong.strip('"'), f'"x{strong[1:]}'):
            assert tree.node.get(target, If_None_Match=given).status == 200


def test_several_lines_of_if_none_match_are_one_list(tree: Tree) -> None:
    etag = tree.node.get(tree.targets[0]).headers["ETag"]
    connection = http.client.HTTPConnection("127.0.0.1", tree.node.node.port, timeout=20)
    connection.putrequest("GET", tree.targets[0])
    connection.putheader("If-None-Match", '"a",,"b"')
    connection.putheader("If-None-Match", etag)
    connection.endheaders()
    assert connection.getresponse().status == 304
    connection.close()


def test_304_is_not_said_of_what_is_not_here(tree: Tree) -> None:
    for target in (
        f"/ipfs/{ABSENT}?format=raw",
        f"/ipfs/{ABSENT}?format=car",
        f"/ipfs/{ABSENT}",
        f"/ipfs/{tree.root}/no",
    ):
        assert tree.node.get(target, If_None_Match="*").status == 404


def test_every_combination_of_parameters_has_an_etag_of_its_own(tree: Tree) -> None:
    shapes = [
        "",
        "&dag-scope=block",
        "&dag-scope=entity",
        "&entity-bytes=0:*",
        "&entity-bytes=1:*",
        "&entity-bytes=0:-1",
    ]
    queries = [shape + dups for shape, dups in itertools.product(shapes, ("", "&car-dups=y"))]
    targets = [f"/ipfs/{cid}?format=car{query}" for cid in (tree.file, f"{tree.root}/file") for query in queries]
    targets += [f"/ipfs/{tree.leaf}?format=raw", f"/ipfs/{tree.leaf}"]
    etags = [tree.node.ask("HEAD", target).headers["ETag"] for target in targets]
    assert len(set(etags)) == len(targets)
    said = {tree.node.ask("HEAD", f"/ipfs/{tree.file}?format=car&dag-scope=all").headers["ETag"], etags[0]}
    assert len(said) == 1


@pytest.mark.parametrize("format_", ["?format=raw", "?format=car", ""])
def test_only_if_cached_is_412_when_the_root_is_absent(tree: Tree, format_: str) -> None:
    for given in ("only-if-cached", "max-age=5, Only-If-Cached"):
        answer = tree.node.get(f"/ipfs/{ABSENT}{format_}", Cache_Control=given)
        assert answer.status == 412
        assert tree.node.ask("HEAD", f"/ipfs/{ABSENT}{format_}", {"Cache-Control": given}).status == 412
        assert tree.node.get(f"/ipfs/{tree.leaf}{format_}", Cache_Control=given).status == 200
    assert tree.node.get(f"/ipfs/{ABSENT}{format_}", Cache_Control="no-cache").status == 404


def test_answers_are_saved_under_the_name_that_was_asked_for(tree: Tree) -> None:
    expected = {
        f"/ipfs/{tree.leaf}?format=raw": f'attachment; filename="{tree.leaf}.bin"',
        f"/ipfs/{tree.root}/file?format=car": f'attachment; filename="{tree.root}.car"',
        f"/ipfs/{tree.root}?format=car&filename=my.car": 'attachment; filename="my.car"',
        f"/ipfs/{tree.leaf}?format=raw&filename=a%20b.bin": 'attachment; filename="a b.bin"',
        f"/ipfs/{tree.root}/a.txt": None,
        f"/ipfs/{tree.root}/a.txt?filename=b.html": 'inline; filename="b.html"',
        f"/ipfs/{tree.root}/a.txt?download=true": 'attachment; filename="a.txt"',
        f"/ipfs/{tree.root}/a.txt?download=true&filename=c": 'attachment; filename="c"',
        f"/ipfs/{tree.leaf}?download=true": f'attachment; filename="{tree.leaf}"',
        f"/ipfs/{tree.leaf}?download=1": None,
        f"/ipfs/{tree.leaf}?filename=%C3%BC%20%22.txt": "inline; filename=\"_ _.txt\"; filename*=UTF-8''%C3%BC%20_.txt",
        f"/ipfs/{tree.leaf}?filename=..%2F..%5Cx": 'inline; filename=".._.._x"',
        f"/ipfs/{tree.leaf}?filename=a%0d%0aSet-Cookie:%20x": 'inline; filename="a__Set-Cookie: x"',
        f"/ipfs/{tree.leaf}?filename=50%25.txt": "inline; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt",
    }
    for target, disposition in expected.items():
        for method in ("GET", "HEAD"):
            answer = tree.node.ask(method, target)
            assert answer.status == 200
            assert answer.headers["Content-Disposition"] == disposition, target
            assert answer.headers["Set-Cookie"] is None
    named = f"/ipfs/{tree.root}/na%C3%AFve%20%E2%80%9Cx%E2%80%9D.txt?download=true"
    assert (
        tree.node.get(named)
        .headers["Content-Disposition"]
        .endswith("filename*=UTF-8''na%C3%AFve%20%E2%80%9Cx%E2%80%9D.txt")
    )
    assert tree.node.get(f"/ipfs/{tree.leaf}?filename={'x' * 256}").status == 400
    assert tree.node.get(f"/ipfs/{tree.leaf}?filename=b.html").headers["Content-Type"] == "text/html; charset=utf-8"


def test_head_has_the_headers_of_get_and_its_length(tree: Tree) -> None:
    for target in tree.targets:
        get, head = tree.node.get(target), tree.node.ask("HEAD", target)
        assert head.body == b""
        for name in (
            "ETag",
            "Content-Type",
            "Content-Disposition",
            "X-Ipfs-Roots",
            "Content-Location",
            "Accept-Ranges",
        ):
            assert head.headers[name] == get.headers[name]
        if "car" not in target:
            assert int(head.headers["Content-Length"]) == len(get.body)
