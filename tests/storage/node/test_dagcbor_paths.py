"""Paths through dag-cbor maps and lists, and CARs that prove them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.storage.cid import CID
from support.dags import Dag, car_cids, inline, once
from support.running_node import RunningNode


class Tree:
    def __init__(self, node: RunningNode) -> None:
        self.node, self.dag = node, Dag(node.store)
        self.text = self.dag.raw(b"some text")
        self.folder = self.dag.directory(file=self.text)
        self.inner = self.dag.cbor({"list": [1, {"to": self.folder}, self.text, [self.text]], "n": None})
        self.root = self.dag.cbor({"a": {"b": self.inner}, "link": self.folder, "ü": "text", "0": inline(b"in")})


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    with RunningNode(tmp_path_factory.mktemp("cbor") / "repo") as node:
        yield Tree(node)


def test_paths_lead_through_maps_lists_and_directories(tree: Tree) -> None:
    root, inner, folder, text = tree.root, tree.inner, tree.folder, tree.text
    expected = {
        "": [root],
        "/a/b": [root, inner],
        "/a/b/list/1/to": [root, inner, folder],
        "/a/b/list/1/to/file": [root, inner, folder, text],
        "/a/b/list/2": [root, inner, text],
        "/a/b/list/3/0": [root, inner, text],
        "/link/file": [root, folder, text],
        "/0": [root],
    }
    for path, blocks in expected.items():
        answer = tree.node.get(f"/ipfs/{root}{path}?format=car&dag-scope=block")
        assert (answer.status, car_cids(answer.body)) == (200, blocks), path
        if path != "/0":
            assert answer.headers["X-Ipfs-Roots"] == ",".join(str(cid) for cid in blocks)
            trail = blocks[:-1]
            everything = car_cids(tree.node.get(f"/ipfs/{root}{path}?format=car").body)
            assert everything == trail + once(tree.dag.walk(blocks[-1])), path


def test_a_path_that_ends_inside_a_block_is_proved_by_that_block(tree: Tree) -> None:
    root, inner = tree.root, tree.inner
    below: dict[str, tuple[list[CID], list[CID]]] = {
        "/a": ([root], tree.dag.walk(inner)),
        "/%C3%BC": ([root], []),
        "/a/b/n": ([root, inner], []),
        "/a/b/list": ([root, inner], [*tree.dag.walk(tree.folder), tree.text, tree.text]),
        "/a/b/list/1": ([root, inner], tree.dag.walk(tree.folder)),
        "/a/b/list/3": ([root, inner], [tree.text]),
    }
    for path, (proof, linked) in below.items():
        target = f"/ipfs/{root}{path}?format=car"
        assert car_cids(tree.node.get(target).body) == proof + once(linked), path
        assert car_cids(tree.node.get(f"{target}&car-dups=y").body) == proof + linked
        for partial in ("&dag-scope=block", "&dag-scope=entity", "&entity-bytes=0:*"):
            assert car_cids(tree.node.get(target + partial).body) == proof


@pytest.mark.parametrize(
    "path",
    ["/none", "/a/none", "/a/b/list/4", "/a/b/list/01", "/a/b/list/-1", "/a/b/list/x", "/a/b/list/99999999999",
     "/%C3%BC/x", "/a/b/n/x", "/a/b/list/2/x", "/link/none"],
)  # fmt: skip
def test_what_is_not_there_is_404(tree: Tree, path: str) -> None:
    assert tree.node.get(f"/ipfs/{tree.root}{path}?format=car").status == 404


def test_a_block_is_given_as_it_is_and_never_converted(tree: Tree) -> None:
    answer = tree.node.get(f"/ipfs/{tree.root}?format=raw")
    assert tree.root.matches(answer.body)
    assert tree.node.get(f"/ipfs/{tree.root}").status == 406
    assert tree.node.get(f"/ipfs/{tree.root}/a").status == 406
    assert tree.node.get(f"/ipfs/{tree.root}?format=dag-json").status == 406
    assert tree.node.get(f"/ipfs/{tree.root}/a/b?format=raw").status == 400
    assert tree.node.get(f"/ipfs/{tree.root}/link/file").body == b"some text"


def test_a_block_that_is_not_strict_is_refused_or_cuts_the_answer(tree: Tree) -> None:
    data = b"\x18\x01"  # 1, not in its shortest form
    bad = CID.of(0x71, data)
    tree.node.store.put(bad, data)
    assert tree.node.get(f"/ipfs/{bad}?format=raw").body == data
    assert tree.node.get(f"/ipfs/{bad}/a?format=car").status == 406
    assert not tree.node.get(f"/ipfs/{tree.dag.cbor([bad])}?format=car").whole
