"""T16: the cache rots, or is tampered with, between runs. Run 1 and run 2 deliver what was published, and heal it.

What is on disk, peak memory and time are checked after each run: rot is no way to make a reader take more of either.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from support.disk import check_copy, evidence_of, files_of
from support.published import publish_mirror
from support.tampering import HARMLESS, TAMPERINGS, rewrite
from support.trees import LEAF, mirror_folder
from support.victim import END_S, PEAK_BYTES, Outcome, Victim

ROTTEN = Behaviour("WRONG_BYTES", "one-bit", "data/*", at=0)


class Case:
    """A published dataset, a server of it, the victim's cache, and what every run must deliver."""

    def __init__(self, victim: Victim, uri: str, mirror: Path, expected: dict[str, str]) -> None:
        self.victim, self.uri, self.mirror, self.expected = victim, uri, mirror, expected
        self.shards, self.nodes = victim.training / "shards", victim.training / "nodes"
        self.server = FaultServer(mirror)

    def run(self, *sources: str, **options: Any) -> Outcome:
        """One whole pass that must deliver everything."""
        outcome = self.victim.delivered(self.uri, sources or [self.server.url], options=options)
        assert outcome.error == "", outcome
        assert {sample["path"]: sample["text"] for sample in outcome.value} == self.expected
        assert len(outcome.value) == len(self.expected)
        bounded(outcome)
        return outcome

    def check_run(self, **options: Any) -> list[str]:
        """A pass with the honest server alone; returns which files of the mirror were asked for."""
        before = len(self.server.requests)
        outcome = self.run(**options)
        assert outcome.sources[self.server.url]["wrong"] == 0, "nobody is blamed for our disk"
        assert evidence_of(self.victim.cache) == []
        return [request.path for request in self.server.requests[before:]]

    def data_files(self) -> list[Path]:
        return sorted(path for path in self.shards.iterdir() if path.suffix != ".marks")

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.data_files()}


def bounded(outcome: Outcome) -> None:
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < END_S


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, str]]:
    place, rng = tmp_path_factory.mktemp("t16"), random.Random(6)
    expected = {f"f{n:03d}.txt": "".join(rng.choices("abcdefghij \n", k=rng.randrange(500, 3000))) for n in range(150)}
    (place / "src").mkdir()
    for name, text in expected.items():
        (place / "src" / name).write_text(text)
    return publish_mirror(place, place / "src", leaf_size=LEAF, shard_size=2 * LEAF), place / "mirror", expected


@pytest.fixture
def case(victim: Victim, published: tuple[str, Path, dict[str, str]]) -> Iterator[Case]:
    case = Case(victim, *published)
    with case.server:
        yield case


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_run_1_and_run_2_after_tampering_deliver_the_published_samples_and_heal_the_cache(
    case: Case, tampering: str
) -> None:
    assert any(path.startswith("data/") for path in case.check_run())
    right = case.content()
    assert case.check_run() == [], "a warm cache needs no source"
    TAMPERINGS[tampering](case.data_files())
    asked = case.check_run()
    assert any(path.startswith("data/") for path in asked) or tampering in HARMLESS, "the rotten leaf was fetched again"
    assert case.content() == right
    assert case.check_run() == [], "and only once"
    assert case.content() == right


def test_a_partial_file_is_not_believed_either(case: Case) -> None:
    options = {"prefetch_bytes": 1}
    outcome = case.victim.train(case.uri, [case.server.url], samples=10, options=options)
    assert (outcome.error, len(outcome.value)) == ("", 10)
    bounded(outcome)
    started = [path for path in case.data_files() if any(path.read_bytes())]
    assert started
    for path in started:
        rewrite(
            path,
            lambda data: [
                data.__setitem__(at, data[at] ^ 1) for at in range(0, len(data), LEAF) if any(data[at : at + LEAF])
            ],
        )
    case.check_run()
    right = case.content()
    assert case.check_run() == []
    shards = {path.read_bytes() for path in (case.mirror / "data").rglob("*") if path.is_file()}
    assert shards <= set(right.values()), "every cached shard has the published bytes"


@pytest.mark.parametrize("how", ["a bit", "empty", "another node"])
def test_a_rotten_node_is_fetched_again_and_rewritten(case: Case, how: str) -> None:
    case.check_run()
    nodes = sorted(path for path in case.nodes.rglob("*") if path.is_file())
    right = {path: path.read_bytes() for path in nodes}
    for number, path in enumerate(nodes):
        data = bytearray(right[path])
        data[-1] ^= 1
        path.write_bytes({"a bit": bytes(data), "empty": b"", "another node": right[nodes[number - 1]]}[how])
    asked = case.check_run()
    assert any(".holdfast/blocks" in path for path in asked)
    assert {path: path.read_bytes() for path in nodes} == right
    assert case.check_run() == []


def test_after_healing_no_source_is_needed_any_more(case: Case, tmp_path: Path) -> None:
    case.check_run()
    TAMPERINGS["a bit in every leaf"](case.data_files())
    case.check_run()
    with FaultServer(tmp_path) as empty:
        case.run(empty.url)
        assert empty.requests == []


def test_reverify_hashes_what_a_seal_would_vouch_for(case: Case) -> None:
    case.check_run()
    assert case.check_run(reverify=True) == []
    TAMPERINGS["one bit of one file"](case.data_files())
    right = {path.read_bytes() for path in (case.mirror / "data").rglob("*") if path.is_file()}
    assert case.check_run(reverify=True) != []
    assert right <= set(case.content().values())


def test_another_process_heals_it_just_the_same(case: Case) -> None:
    case.check_run()
    right = case.content()
    TAMPERINGS["a bit in every leaf"](case.data_files())
    with Victim(case.victim.cache) as other:
        again = Case(other, case.uri, case.mirror, case.expected)
        with again.server:
            assert again.check_run() != []
            assert again.content() == right
    assert case.check_run() == [], "nor does the first one need a source afterwards"


def test_a_rotten_mirror_beside_a_good_one_changes_nothing(case: Case) -> None:
    with FaultServer(case.mirror, ROTTEN) as rotten:
        outcome = case.run(rotten.url, case.server.url)
        assert outcome.sources[case.server.url]["wrong"] == 0
        assert {record["url"] for record in evidence_of(case.victim.cache)} <= {rotten.url}
    published = {path.read_bytes() for path in case.mirror.rglob("*") if path.is_file()}
    assert set(case.content().values()) <= published
    assert case.run().sources[case.server.url]["bytes"] == 0


def test_a_rotten_mirror_alone_is_an_error_and_leaves_nothing_of_it_in_the_cache(case: Case) -> None:
    with FaultServer(case.mirror, ROTTEN) as rotten:
        outcome = case.victim.train(case.uri, [rotten.url])
        assert outcome.error == "IntegrityError", outcome
        assert "WRONG_BYTES" in outcome.message
        assert {record["url"] for record in evidence_of(case.victim.cache)} == {rotten.url}
    bounded(outcome)
    published = [path.read_bytes() for path in case.mirror.rglob("*") if path.is_file()]
    known = {data[at : at + LEAF] for data in published for at in range(0, len(data), LEAF)}
    for data in case.content().values():
        leaves = [data[at : at + LEAF] for at in range(0, len(data), LEAF)]
        assert all(leaf in known or not any(leaf) for leaf in leaves), "an unverified byte in the cache"
    case.run()
    assert set(case.content().values()) <= set(published)
    before = len(case.server.requests)
    case.run()
    assert case.server.requests[before:] == []


def test_a_second_get_heals_a_rotten_copy_nodes_included(victim: Victim, tmp_path: Path) -> None:
    files = {"data/a.bin": random.Random(8).randbytes(3 * LEAF), "b.txt": b"b"}
    root = mirror_folder(tmp_path / "origin", files)
    with FaultServer(tmp_path / "origin") as server:
        first = victim.get(root, tmp_path / "copy", [server.url])
        right = files_of(tmp_path / "copy")
        for name, data in right.items():
            (tmp_path / "copy" / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        second = victim.get(root, tmp_path / "copy", [server.url])
    assert (first.error, second.error) == ("", ""), second
    check_copy(tmp_path / "copy", files, complete=True)
    assert files_of(tmp_path / "copy") == right
    assert evidence_of(victim.cache) == []
    bounded(first)
    bounded(second)
