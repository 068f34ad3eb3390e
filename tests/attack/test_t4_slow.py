"""T4: sources that drip, stall or never answer. What others have is delivered in time; alone they end in an error."""

import random
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from support.disk import check_copy
from support.trees import LEAF, mirror_folder
from support.victim import PEAK_BYTES, Victim

FILES = {"data/a.bin": random.Random(10).randbytes(20 * LEAF), "data/b.bin": random.Random(11).randbytes(3 * LEAF + 9)}
ATTACKS = {
    "a byte now and then": Behaviour("SLOW", "drip", drip_s=0.05),
    "silence before the head": Behaviour("SLOW", "stall-head"),
    "a head without end": Behaviour("SLOW", "drip-head", drip_s=0.05),
    "silence after the head": Behaviour("SLOW", "stall-body"),
    "silence within a leaf": Behaviour("SLOW", "stall-body", at=100),
    "nobody accepts": Behaviour("SLOW", "stall-accept"),
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("origin")
    return folder, str(mirror_folder(folder, FILES))


@pytest.mark.parametrize("slow", [1, 2, 3])
@pytest.mark.parametrize("attack", ATTACKS)
def test_of_four_sources_some_are_slow(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, attack: str, slow: int
) -> None:
    folder, root = origin
    with ExitStack() as stack:
        servers = [stack.enter_context(FaultServer(folder, ATTACKS[attack])) for _ in range(slow)]
        servers += [stack.enter_context(FaultServer(folder)) for _ in range(4 - slow)]
        outcome = victim.get(root, tmp_path / "copy", [server.url for server in servers], deadline_s=10)
    assert outcome.error == "", outcome
    check_copy(tmp_path / "copy", FILES, complete=True)
    assert all(source["wrong"] == 0 for source in outcome.sources.values())
    assert outcome.seconds < 10
    assert outcome.peak_bytes < PEAK_BYTES


@pytest.mark.parametrize("paths", ["data/*", ".holdfast/*"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_alone_it_ends_in_an_error_in_time(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, attack: str, paths: str
) -> None:
    folder, root = origin
    with FaultServer(folder, replace(ATTACKS[attack], paths=paths)) as bad:
        outcome = victim.get(root, tmp_path / "copy", [bad.url], deadline_s=0.5, hard_deadline_factor=4)
    assert outcome.error == "UnavailableError", outcome
    assert bad.url in outcome.message
    assert outcome.seconds < 20
    check_copy(tmp_path / "copy", FILES, complete=False)
    assert outcome.peak_bytes < PEAK_BYTES


def test_a_source_that_lies_about_a_leaf_and_drips_its_block_holds_nobody_up(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path
) -> None:
    """A leaf that is wrong everywhere is asked for as a block, to find out whose fault it is: also that has an end."""
    from holdfast.storage.cid import CID, RAW

    folder, root = origin
    leaf = CID.of(RAW, FILES["data/a.bin"][:LEAF])
    (folder / f".holdfast/blocks/{leaf}").write_bytes(FILES["data/a.bin"][:LEAF])
    lie, drip = Behaviour("WRONG_BYTES", paths="data/a.bin", at=0), Behaviour("SLOW", "drip", f"*{leaf}", drip_s=0.1)
    with FaultServer(folder, lie, drip) as bad:
        outcome = victim.get(root, tmp_path / "copy", [bad.url], deadline_s=0.5)
        assert any(str(leaf) in request.path for request in bad.requests)
    assert outcome.error == "IntegrityError", outcome
    assert outcome.seconds < 20


def test_a_source_that_slows_down_in_the_middle_is_helped_by_the_other(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path
) -> None:
    folder, root = origin
    stall = Behaviour("SLOW", "stall-body", "data/*", at=2 * LEAF + 7)
    with FaultServer(folder, stall) as bad, FaultServer(folder, rate_bytes_s=2_000_000) as good:
        outcome = victim.get(root, tmp_path / "copy", [bad.url, good.url])
    assert outcome.error == ""
    check_copy(tmp_path / "copy", FILES, complete=True)
    extra = sum(source["bytes"] for source in outcome.sources.values()) - sum(map(len, FILES.values()))
    assert extra < 8 * LEAF, "what came before the stall was kept"
