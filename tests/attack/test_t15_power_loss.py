"""T15: the power goes. In every state that the disk may be in then, no wrong byte is served, and what was
acknowledged as durable is there.
"""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from holdfast.storage.blocks import atomic, verified_file
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.leaf_index import REFERENCE_DTYPE, LeafIndex
from holdfast.storage.blocks.nodes import NodeStore
from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.build import build_tree
from holdfast.storage.errors import BlockMissingError, HashMismatchError, StoreError
from support.crash_states import Recorder, put_back
from support.trees import LEAF, file_dag


def test_the_states_of_a_careless_writer_show_what_the_model_can_see(tmp_path: Path) -> None:
    """The model itself: writing in place, renaming without a sync, and doing it right."""
    recorder = Recorder(tmp_path)
    with recorder.on(), (tmp_path / "x").open("wb") as file:
        file.write(b"12345678")
    assert {state.get("x") for _, state in recorder.states()} == {None, b"", b"1234", bytes(8), b"12345678"}
    recorder = Recorder(tmp_path)
    with recorder.on():
        atomic.write_atomic(tmp_path / "y", b"12345678", durable=False)
    assert {None, b"", b"1234", b"12345678"} <= {state.get("y") for _, state in recorder.states()}


def test_a_durable_document_is_whole_whenever_it_is_there_and_there_once_acknowledged(tmp_path: Path) -> None:
    recorder, path = Recorder(tmp_path), tmp_path / "head.json"
    acknowledged = []
    with recorder.on():
        for version in (b"first version", b"second version"):
            atomic.write_atomic(path, version)
            acknowledged.append((len(recorder.steps) - 1, version))
    checked = 0
    for step, state in recorder.states():
        found = state.get("head.json")
        assert found in (None, b"first version", b"second version"), f"torn after step {step}"
        for when, version in acknowledged:
            if step >= when:
                assert found is not None
                assert version == b"first version" or found == version
        checked += 1
    assert checked > 15


def test_nodes_are_right_or_missing_or_known_to_be_wrong(tmp_path: Path) -> None:
    """They are not synced: their name commits to their content, and `get` hashes."""
    data = [b"a" * 100, b"b" * 200]
    cids = [CID.of(RAW, one) for one in data]
    (tmp_path / "made").mkdir()
    recorder = Recorder(tmp_path / "made")
    with recorder.on():
        for cid, one in zip(cids, data, strict=True):
            NodeStore(tmp_path / "made").put(cid, one)
    outcomes = set()
    for _, state in recorder.states():
        put_back(tmp_path / "after", state) if (tmp_path / "after").exists() else (tmp_path / "after").mkdir()
        store = NodeStore(tmp_path / "after")
        for cid, one in zip(cids, data, strict=True):
            try:
                assert store.get(cid).data == one
                outcomes.add("right")
            except (BlockMissingError, HashMismatchError) as error:
                outcomes.add(type(error).__name__)
                assert store.put(cid, one).data == one, "and put again, it is there"
                assert store.get(cid).data == one
    assert outcomes == {"right", "BlockMissingError", "HashMismatchError"}


def test_a_segment_of_the_leaf_index_is_whole_or_not_there_and_merging_loses_none(tmp_path: Path) -> None:
    digests = [bytes([n]) * 32 for n in range(3)]
    (tmp_path / "made").mkdir()
    recorder = Recorder(tmp_path / "made")
    added = []
    with recorder.on():
        index = LeafIndex(tmp_path / "made")
        for number, digest in enumerate(digests):
            index.add(digest, np.array([(number, 7, 9)], dtype=REFERENCE_DTYPE))
            added.append(len(recorder.steps) - 1)
        index.compact()
    checked = 0
    (tmp_path / "after").mkdir()
    for step, state in recorder.states():
        put_back(tmp_path / "after", {name: data for name, data in state.items() if name.endswith(".leaves")})
        found = LeafIndex(tmp_path / "after")
        for number, (digest, when) in enumerate(zip(digests, added, strict=True)):
            refs = {ref.file for ref in found.find(digest)}
            assert refs <= {number}
            assert refs or step < when, f"leaf {number} was acknowledged, and is gone after step {step}"
        checked += 1
    assert checked > 30


def test_a_cached_file_believes_no_leaf_that_the_disk_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks and seal are on disk, and any of the leaves are not: they were never synced in order."""
    data = b"".join(bytes([n + 1]) * LEAF for n in range(4))[: 3 * LEAF + 100]
    layout = file_dag(data)[0]
    path, marks = tmp_path / "x", tmp_path / "x.marks"
    with VerifiedFile(path, marks, layout).open(1) as file:
        for leaf in range(4):
            start, end = layout.leaf_range(leaf)
            file.write(leaf, data[start:end])
    sealed = marks.read_bytes()
    stamp = path.stat()
    for kept in itertools.product((0, 1, 2), repeat=4):  # lost, there, half there
        parts = []
        for leaf, how in enumerate(kept):
            start, end = layout.leaf_range(leaf)
            part = data[start:end]
            parts.append((bytes(len(part)), part, part[: len(part) // 2].ljust(len(part), b"\0"))[how])
        path.write_bytes(b"".join(parts))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        marks.write_bytes(sealed)
        monkeypatch.setattr(verified_file, "boot", lambda: b"another!")
        with VerifiedFile(path, marks, layout).open(2) as file:
            assert [file.has(leaf) for leaf in range(4)] == [how == 1 for how in kept]
        monkeypatch.undo()


def test_a_file_that_the_repository_refers_to_and_the_disk_lost_is_not_served(tmp_path: Path) -> None:
    """The catalog is SQLite's and survives; what it points at may have lost bytes."""
    data = bytes(range(256)) * 200
    layout, entry, nodes = file_dag(data)
    root, more = build_tree({"x": entry})
    source = tmp_path / "x"
    source.write_bytes(data)
    from holdfast.storage.blocks.hashing import hash_file

    with DiskStore(tmp_path / "repo").open() as store:
        store.adopt_all([(hash_file(source, layout.leaf_size), layout, [*nodes, *more])], owned=False)
    for lost in (data[:LEAF] + bytes(len(data) - LEAF), bytes(len(data)), data[:-1], b""):
        stamp = source.stat()
        source.write_bytes(lost)
        os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        with DiskStore(tmp_path / "repo").open() as store:
            for leaf in range(layout.leaves):
                cid = layout.leaf_cid(leaf)
                try:
                    assert cid.matches(store.get(cid).data)
                except StoreError:
                    continue
    assert root.cid
