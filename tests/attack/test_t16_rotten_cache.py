"""T16: the cache rots, or is tampered with, between runs. Run 1 and run 2 deliver what was published, and heal it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from holdfast import StreamingDataset
from holdfast.storage.errors import IntegrityError
from holdfast.storage.get import get
from support.mirror_server import MirrorServer, Reply
from support.published import publish_mirror
from support.samples import collect
from support.trees import LEAF, mirror_folder


class Case:
    """A published dataset, a server of it, a cache, and what every run must deliver."""

    def __init__(self, uri: str, mirror: Path, cache: Path, expected: dict[str, str]) -> None:
        self.uri, self.mirror, self.cache, self.expected = uri, mirror, cache, expected
        self.shards, self.nodes = cache / "shards", cache / "nodes"
        self.server = MirrorServer(mirror)

    def dataset(self, **options: Any) -> StreamingDataset:
        return StreamingDataset(self.uri, sources=[self.server.url], cache=self.cache, **options)

    def check_run(self, **options: Any) -> list[str]:
        """One whole pass; returns which files of the mirror were asked for."""
        self.server.requests.clear()
        found = collect(self.dataset(**options))
        assert [sample["__index__"] for sample in found] != []
        assert {sample["path"]: sample["text"] for sample in found} == self.expected
        assert len(found) == len(self.expected)
        return list(self.server.requests)

    def data_files(self) -> list[Path]:
        return sorted(path for path in self.shards.iterdir() if path.suffix != ".marks")

    def largest(self) -> list[Path]:
        return sorted(self.data_files(), key=lambda path: -path.stat().st_size)[:2]

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.data_files()}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, str]]:
    place, rng = tmp_path_factory.mktemp("t16"), random.Random(6)
    expected = {f"f{n:03d}.txt": "".join(rng.choices("abcdefghij \n", k=rng.randrange(500, 3000))) for n in range(150)}
    (place / "src").mkdir()
    for name, text in expected.items():
        (place / "src" / name).write_text(text)
    return publish_mirror(place, place / "src", leaf_size=LEAF, shard_size=2 * LEAF), place / "mirror", expected


@pytest.fixture
def case(published: tuple[str, Path, dict[str, str]], tmp_path: Path) -> Iterator[Case]:
    uri, mirror, expected = published
    case = Case(uri, mirror, tmp_path / "cache", expected)
    with case.server:
        yield case


def _write(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change a file in place; again until the clock of the file system has moved on."""
    before, data = path.stat().st_mtime_ns, bytearray(path.read_bytes())
    change(data)
    with path.open("r+b") as file:
        while True:
            os.pwrite(file.fileno(), data, 0)
            os.ftruncate(file.fileno(), len(data))
            if path.stat().st_mtime_ns != before:
                return


def _flip(data: bytearray) -> None:
    for at in range(0, len(data), LEAF):
        data[min(at + 11, len(data) - 1)] ^= 1


def _flip_one(case: Case) -> None:
    _write(max(case.data_files(), key=lambda path: path.stat().st_size), lambda data: data.__setitem__(5, data[5] ^ 4))


def _swap(case: Case) -> None:
    one, two = case.largest()
    first, second = one.read_bytes(), two.read_bytes()
    _write(one, lambda data: data.__setitem__(slice(None), second))
    _write(two, lambda data: data.__setitem__(slice(None), first))


def _rename_swap(case: Case) -> None:
    one, two = case.largest()
    spare = one.with_name("spare")
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def _each(change: Callable[[Path], object]) -> Callable[[Case], None]:
    def tamper(case: Case) -> None:
        for path in case.data_files():
            change(path)

    return tamper


def _flip_and_bless(path: Path) -> None:
    """The attacker also sets every mark to "verified"; the seal stays that of the file as it was.

    Whoever can write the seal too (it is no signature) deceives a run without `reverify`: the README says so.
    """
    _write(path, _flip)
    marks = Path(f"{path}.marks")
    data = bytearray(marks.read_bytes())
    data[72:] = b"\1" * (len(data) - 72)
    marks.write_bytes(data)


TAMPERINGS: dict[str, Callable[[Case], None]] = {
    "one bit of one file": _flip_one,
    "a bit in every leaf": _each(lambda path: _write(path, _flip)),
    "zeros": _each(lambda path: _write(path, lambda data: data.__setitem__(slice(None), bytes(len(data))))),
    "two shards swapped": _swap,
    "two shards renamed": _rename_swap,
    "cut short": _each(lambda path: os.truncate(path, path.stat().st_size // 2)),
    "cut to nothing": _each(lambda path: os.truncate(path, 0)),
    "longer": _each(lambda path: os.truncate(path, path.stat().st_size + 7)),
    "removed": _each(lambda path: path.unlink()),
    "a bit, and marks that vouch for it": _each(_flip_and_bless),
    "a bit, and no marks": _each(lambda path: (_write(path, _flip), Path(f"{path}.marks").unlink())),
    "a bit, and noise for marks": _each(
        lambda path: (
            _write(path, _flip),
            Path(f"{path}.marks").write_bytes(random.Random(1).randbytes(Path(f"{path}.marks").stat().st_size)),
        )
    ),
    "a bit, and half the marks": _each(
        lambda path: (_write(path, _flip), os.truncate(f"{path}.marks", Path(f"{path}.marks").stat().st_size // 2))
    ),
}
HARMLESS = {"longer"}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_run_1_and_run_2_after_tampering_deliver_the_published_samples_and_heal_the_cache(
    case: Case, tampering: str
) -> None:
    assert any(path.startswith("data/") for path in case.check_run())
    right = case.content()
    assert case.check_run() == [], "a warm cache needs no source"
    TAMPERINGS[tampering](case)
    asked = case.check_run()
    assert any(path.startswith("data/") for path in asked) or tampering in HARMLESS, "the rotten leaf was fetched again"
    assert case.content() == right
    assert case.check_run() == [], "and only once"
    assert case.content() == right


def test_a_partial_file_is_not_believed_either(case: Case) -> None:
    dataset = case.dataset(prefetch_bytes=1)
    assert len(list(islice(iter(dataset), 10))) == 10
    dataset.close()
    started = [path for path in case.data_files() if any(path.read_bytes())]
    for path in started:
        _write(
            path,
            lambda data: [
                data.__setitem__(at, data[at] ^ 1) for at in range(0, len(data), LEAF) if any(data[at : at + LEAF])
            ],
        )
    case.check_run()
    right = case.content()
    assert case.check_run() == []
    assert {(case.mirror / ".holdfast/blocks").exists(), bool(right)} == {True}
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


def test_after_healing_no_source_is_needed_any_more(case: Case) -> None:
    case.check_run()
    TAMPERINGS["a bit in every leaf"](case)
    case.check_run()
    with MirrorServer(case.cache / "nowhere") as empty:
        dataset = StreamingDataset(case.uri, sources=[empty.url], cache=case.cache)
        assert {sample["path"]: sample["text"] for sample in collect(dataset)} == case.expected
        assert empty.requests == []


def test_reverify_hashes_what_a_seal_would_vouch_for(case: Case) -> None:
    case.check_run()
    assert case.check_run(reverify=True) == []
    TAMPERINGS["one bit of one file"](case)
    assert case.check_run(reverify=True) != []


def _rotten(path: str, reply: Reply) -> Reply | None:
    if path.startswith("data/") and reply.body:
        reply.body = bytes([reply.body[0] ^ 1]) + reply.body[1:]
    return reply


def test_a_rotten_mirror_beside_a_good_one_changes_nothing(case: Case) -> None:
    with MirrorServer(case.mirror, _rotten) as rotten:
        dataset = StreamingDataset(case.uri, sources=[rotten.url, case.server.url], cache=case.cache)
        assert {sample["path"]: sample["text"] for sample in collect(dataset)} == case.expected
    assert case.check_run() == []


def test_a_rotten_mirror_alone_is_an_error_and_leaves_nothing_of_it_in_the_cache(case: Case) -> None:
    with MirrorServer(case.mirror, _rotten) as rotten:
        dataset = StreamingDataset(case.uri, sources=[rotten.url], cache=case.cache, deadline_s=5)
        with pytest.raises(IntegrityError, match="WRONG_BYTES"):
            collect(dataset)
        dataset.close()
    assert case.check_run() != []
    assert case.check_run() == []


def test_a_second_get_heals_a_rotten_copy_nodes_included(tmp_path: Path) -> None:
    files = {"data/a.bin": random.Random(8).randbytes(3 * LEAF), "b.txt": b"b"}
    root = mirror_folder(tmp_path / "origin", files)
    with MirrorServer(tmp_path / "origin") as server:
        get(str(root), tmp_path / "copy", sources=[server.url])
        copied = sorted(path for path in (tmp_path / "copy").rglob("*") if path.is_file())
        right = {path: path.read_bytes() for path in copied}
        for path in copied:
            path.write_bytes(bytes([right[path][0] ^ 1]) + right[path][1:])
        get(str(root), tmp_path / "copy", sources=[server.url])
    assert {path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()} == right
