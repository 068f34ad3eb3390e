"""T1: a source sends wrong bytes. They are dropped before use, the sender is named, others heal it."""

import random
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.get import get
from support.disk import check_copy, evidence_of, files_of
from support.published import publish_mirror
from support.trees import LEAF, mirror_folder
from support.victim import PEAK_BYTES, Victim

FILES = {
    "data/a.bin": random.Random(7).randbytes(10 * LEAF + 77),
    "data/b.bin": random.Random(8).randbytes(3 * LEAF),
    "data/small": random.Random(9).randbytes(50),  # of one leaf: kept in memory, not in a partial file
}
LIES = {
    "one bit": Behaviour("WRONG_BYTES", "one-bit", "data/*"),
    "the first byte": Behaviour("WRONG_BYTES", "one-bit", "data/*", at=0),
    "all of it": Behaviour("WRONG_BYTES", "zeros", "data/*"),
    "leaves swapped": Behaviour("WRONG_BYTES", "swapped", "data/*"),
    "another range": Behaviour("WRONG_BYTES", "shifted", "data/*"),
    "a valid block of another CID": Behaviour("WRONG_BYTES", "neighbour", "data/*"),
    "another node": Behaviour("WRONG_BYTES", "neighbour", ".holdfast/blocks/*"),
    "a bit of a node": Behaviour("WRONG_BYTES", "one-bit", ".holdfast/blocks/*"),
    "a bit of a node, but not when it is first asked": Behaviour("WRONG_BYTES", "one-bit", ".holdfast/*", first=1),
    "a bit of a small file": Behaviour("WRONG_BYTES", "one-bit", "data/small"),
    "a range that nobody asked for": Behaviour("WRONG_BYTES", "wrong-range", "data/*"),
    "an encoding that nobody asked for": Behaviour("WRONG_BYTES", "encoding", "data/*"),
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("origin")
    return folder, str(mirror_folder(folder, FILES))


@pytest.mark.parametrize("liar", range(3))
@pytest.mark.parametrize("lie", LIES)
def test_any_one_of_three_lying_changes_nothing(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, liar: int, lie: str
) -> None:
    folder, root = origin
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultServer(folder, delay_s=0.0 if n == liar else 0.01)) for n in range(3)]
        servers[liar].play(LIES[lie])
        outcome = victim.get(root, tmp_path / "copy", [server.url for server in servers])
        bad = servers[liar].url
    assert outcome.error == "", outcome
    check_copy(tmp_path / "copy", FILES, complete=True)
    assert set(files_of(tmp_path)) == {f"copy/{name}" for name in files_of(tmp_path / "copy")}
    for url, source in outcome.sources.items():
        assert source["wrong"] == 0 or url == bad, "nobody else is blamed"
        assert (source["state"] == "demoted") == (source["wrong"] > 0)
    assert {record["url"] for record in evidence_of(victim.cache)} <= {bad}
    assert outcome.peak_bytes < PEAK_BYTES


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_alone_ends_in_a_typed_error_and_leaves_nothing_wrong_on_disk(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, lie: str
) -> None:
    folder, root = origin
    with FaultServer(folder, LIES[lie]) as server:
        outcome = victim.get(root, tmp_path / "copy", [server.url], deadline_s=5)
    assert outcome.error == "IntegrityError"
    assert "WRONG_BYTES" in outcome.message
    assert server.url in outcome.message, "the liar is named"
    assert outcome.sources[server.url]["wrong"] > 0
    check_copy(tmp_path / "copy", FILES, complete=False)
    framing = LIES[lie].variant in ("wrong-range", "encoding")  # nothing came that could be kept
    assert bool(evidence_of(victim.cache)) != framing
    assert {record["url"] for record in evidence_of(victim.cache)} <= {server.url}
    assert outcome.seconds < 20
    assert outcome.peak_bytes < PEAK_BYTES


def test_three_sources_with_one_different_rotten_leaf_each_complete_a_run(tmp_path: Path) -> None:
    """A file of each has one rotten leaf: whole files are asked for, so the byte is always the same."""
    folders = []
    for number, leaf in enumerate((1, 4, 8)):
        root = mirror_folder(tmp_path / f"origin{number}", FILES)
        data = bytearray(FILES["data/a.bin"])
        data[leaf * LEAF + 5] ^= 1
        (tmp_path / f"origin{number}/data/a.bin").write_bytes(data)
        folders.append(tmp_path / f"origin{number}")
    with FaultServer(folders[0]) as one, FaultServer(folders[1]) as two, FaultServer(folders[2]) as three:
        get(str(root), tmp_path / "copy", sources=[one.url, two.url, three.url])
    check_copy(tmp_path / "copy", FILES, complete=True)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10 * LEAF + 76), share=st.sampled_from([0.3, 1.0]), seed=st.integers(0, 99))
def test_wherever_the_bit_is_beside_an_honest_source_every_byte_is_right(
    origin: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory, at: int, share: float, seed: int
) -> None:
    folder, root = origin
    lie = Behaviour("WRONG_BYTES", "one-bit", "*a*", share=share, seed=seed, at=at)
    dest = tmp_path_factory.mktemp("copy") / "copy"
    with FaultServer(folder, lie) as bad, FaultServer(folder) as good:
        result = get(root, dest, sources=[bad.url, good.url], deadline_s=10)
    check_copy(dest, FILES, complete=True)
    assert result.sources[1].wrong == 0


@pytest.mark.parametrize("lie", ["one bit", "a valid block of another CID", "a bit of a node"])
def test_training_beside_a_liar_delivers_what_training_without_one_does(
    victim: Victim, tmp_path: Path, lie: str
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    rng = random.Random(3)
    for number in range(200):
        (source / f"{number}.txt").write_text("".join(rng.choices("abcdef ", k=3000)))
    uri = publish_mirror(tmp_path, source, leaf_size=LEAF, shard_size=4 * LEAF)
    with FaultServer(tmp_path / "mirror") as good, FaultServer(tmp_path / "mirror", LIES[lie]) as bad:
        reference = victim.train(uri, [good.url])
        for path in sorted((victim.cache / "train").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        outcome = victim.train(uri, [bad.url, good.url])
    assert (outcome.error, len(outcome.value)) == ("", 200)
    assert outcome.value == reference.value, "the same samples in the same order"
    shards = victim.cache / "train/shards"
    published = {path.read_bytes() for path in (tmp_path / "mirror").rglob("*") if path.is_file()}
    assert {path.read_bytes() for path in shards.iterdir() if path.suffix != ".marks"} <= published
    assert outcome.sources[good.url]["wrong"] == 0
    assert outcome.peak_bytes < PEAK_BYTES
