"""CAR parameters, in the URL and in Accept; the block sets that they stand for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.storage.cid import CID
from holdfast.storage.dag import hamt
from holdfast.storage.dag.dagpb import PBLink
from support.dags import Dag, car_cids, inline, once
from support.running_node import RunningNode

CAR = "application/vnd.ipld.car"


class Tree:
    """A directory with a file twice, a HAMT, an inline entry, and dag-cbor."""

    def __init__(self, node: RunningNode) -> None:
        self.node, self.dag = node, Dag(node.store)
        a, b = self.dag.raw(b"aa"), self.dag.raw(b"bb")
        self.file = self.dag.file((a, 2), (b, 2), (a, 2))
        shards, made = hamt.build([PBLink(self.dag.raw(b"%d" % n), f"{n}", 1) for n in range(400)])
        for block in made:
            node.store.put(block.cid, block.data)
        self.hamt = shards.cid
        cbor = self.dag.cbor({"b": a, "a": [self.file, inline(b"x")]})
        self.root = self.dag.directory(cbor=cbor, file=self.file, hamt=self.hamt, inline=inline(b"y"), same=self.file)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    with RunningNode(tmp_path_factory.mktemp("parameters") / "repo") as node:
        yield Tree(node)


@pytest.mark.parametrize(
    ("query", "accept", "dups"),
    [
        ("?format=car", "", "n"),
        ("?format=car&car-dups=y", "", "y"),
        ("?format=car&car-dups=n", "", "n"),
        ("?format=car&car-order=dfs&car-version=1&car-dups=y", "", "y"),
        ("?format=car&car-order=unk", "", "n"),
        ("", f"{CAR}; version=1; order=dfs; dups=y", "y"),
        ("", f"{CAR};order=unk;dups=n", "n"),
        ("", f'{CAR};dups="y"', "y"),
        ("", f"{CAR};DUPS=Y", "y"),
        ("?format=car", f"{CAR};dups=y", "y"),
        ("?car-dups=n", f"{CAR};dups=y", "n"),
        ("?format=car&car-dups=y", f"{CAR};dups=n", "y"),
        ("?format=car&car-order=dfs", f"{CAR};order=foo;dups=y", "y"),
        ("", f"{CAR};order=foo, {CAR};order=dfs;dups=y;q=0.5", "y"),
        ("", f"{CAR};dups=y;q=0.2, {CAR};dups=n;q=0.9", "n"),
        ("", f"*/*, {CAR};dups=y", "y"),
        ("", f"text/html;q=0.1, {CAR};dups=y;q=0.5", "y"),
    ],
)
def test_the_url_wins_and_the_answer_says_what_it_is(tree: Tree, query: str, accept: str, dups: str) -> None:
    answer = tree.node.get(f"/ipfs/{tree.root}{query}", **({"Accept": accept} if accept else {}))
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == f"{CAR};version=1;order=dfs;dups={dups}"
    met = tree.dag.walk(tree.root)
    assert len(met) > len(once(met))
    assert car_cids(answer.body) == (met if dups == "y" else once(met))
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("?format=car&car-version=2", "", 406),
        ("?format=car&car-order=bfs", "", 406),
        ("?format=car&car-dups=maybe", "", 406),
        ("", f"{CAR};version=2", 406),
        ("", f"{CAR};order=foo", 406),
        ("", "application/vnd.ipld.dag-cbor", 406),
        ("", "application/vnd.ipfs.ipns-record", 406),
        ("?format=ipns-record", "", 406),
        ("?format=dag-json", CAR, 406),
        ("?format=", "", 406),
        ("", f"{CAR};q=0", 200),
        ("", "image/*", 200),
    ],
)
def test_what_cannot_be_given_is_406(tree: Tree, query: str, accept: str, status: int) -> None:
    answer = tree.node.get(f"/ipfs/{tree.root}{query}", **({"Accept": accept} if accept else {}))
    assert answer.status == status
    assert not answer.headers["Content-Type"].startswith(CAR)


def test_the_url_in_full_is_told_when_accept_chose(tree: Tree) -> None:
    leaf = tree.dag.raw(b"aa")
    asked = {
        (f"/ipfs/{leaf}", "application/vnd.ipld.raw"): f"/ipfs/{leaf}?format=raw",
        (f"/ipfs/{tree.root}/file?dag-scope=block", CAR): f"/ipfs/{tree.root}/file?dag-scope=block&format=car",
        (f"/ipfs/{tree.root}?format=car", f"{CAR};dups=y"): f"/ipfs/{tree.root}?format=car&car-dups=y",
        (f"/ipfs/{tree.root}?format=car&entity-bytes=0:*", CAR): None,
        (f"/ipfs/{leaf}", "*/*"): None,
    }
    for (target, accept), location in asked.items():
        assert tree.node.get(target, Accept=accept).headers["Content-Location"] == location


def test_identity_cids_are_never_blocks_of_a_car(tree: Tree) -> None:
    for target in (tree.root, f"{tree.root}/cbor", f"{tree.root}/inline", inline(b"alone")):
        for dups in "yn":
            body = tree.node.get(f"/ipfs/{target}?format=car&car-dups={dups}").body
            assert all(cid.hash_code != 0 for cid in car_cids(body))


def test_entity_of_a_hamt_is_its_shards_and_a_path_through_it_its_proof(tree: Tree) -> None:
    shards = [cid for cid in once(tree.dag.walk(tree.hamt)) if cid.codec == 0x70]
    body = tree.node.get(f"/ipfs/{tree.hamt}?format=car&dag-scope=entity").body
    assert car_cids(body) == shards
    found = car_cids(tree.node.get(f"/ipfs/{tree.root}/hamt/77?format=car").body)
    assert found[0] == tree.root
    assert found[1] == tree.hamt
    assert found[-1] == tree.dag.raw(b"77")
    assert set(found[1:-1]) <= set(shards)
    assert tree.node.get(f"/ipfs/{tree.root}/hamt/400?format=car").status == 404


def test_a_path_and_then_the_file_below_it(tree: Tree) -> None:
    below = tree.dag.walk(tree.file)
    target = f"/ipfs/{tree.root}/same?format=car"
    assert car_cids(tree.node.get(target).body) == [tree.root, *once(below)]
    assert car_cids(tree.node.get(f"{target}&car-dups=y").body) == [tree.root, *below]
    assert car_cids(tree.node.get(f"{target}&dag-scope=block").body) == [tree.root, tree.file]
    ranged = car_cids(tree.node.get(f"{target}&entity-bytes=4:*&car-dups=y").body)
    assert ranged == [tree.root, tree.file, below[1]]
    assert car_cids(tree.node.get(f"{target}&dag-scope=all&entity-bytes=99:*").body) == [tree.root, tree.file]


@pytest.mark.parametrize("text", ["*:*", "5", "9:3", "a:b", ""])
def test_entity_bytes_that_are_no_range_are_400(tree: Tree, text: str) -> None:
    assert tree.node.get(f"/ipfs/{tree.file}?format=car&entity-bytes={text}").status == 400


def test_a_child_that_is_missing_cuts_the_answer_after_what_came_before(tree: Tree) -> None:
    there = tree.dag.raw(b"there")
    absent = CID.of(0x55, b"nobody has this")
    for root in (tree.dag.directory(a=there, b=absent), tree.dag.cbor([there, absent])):
        for dups in "yn":
            answer = tree.node.get(f"/ipfs/{root}?format=car&car-dups={dups}")
            assert answer.status == 200
            assert not answer.whole
        assert tree.node.get(f"/ipfs/{root}?format=car&dag-scope=block").whole
    file = tree.dag.file((there, 5), (absent, 15))
    assert not tree.node.get(f"/ipfs/{file}?format=car&entity-bytes=0:*").whole
    assert car_cids(tree.node.get(f"/ipfs/{file}?format=car&entity-bytes=0:4").body) == [file, there]
    assert tree.node.get(f"/ipfs/{absent}?format=car").status == 404
    assert tree.node.get(f"/ipfs/{tree.dag.directory(a=absent)}/a?format=car").status == 404


@pytest.mark.parametrize(
    "query", ["x=%ff", "filename=%ff", "filename=%ed%a0%80", "x=%0d%0aSet-Cookie:y", "%ff=1", "format=%ff"]
)
def test_odd_bytes_in_the_url_are_no_error_of_ours(tree: Tree, query: str) -> None:
    answer = tree.node.get(f"/ipfs/{tree.root}?{query}", Accept=CAR)
    assert answer.status in (200, 400, 406)
    assert answer.headers["Set-Cookie"] is None
