"""T2: answers that end early, under a status that says all is well. Nothing is missing afterwards."""

import random
from pathlib import Path

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.get import get
from support.disk import check_copy
from support.trees import LEAF, mirror_folder
from support.victim import PEAK_BYTES, Victim

FILES = {"data/a.bin": random.Random(9).randbytes(6 * LEAF + 100)}
RANDOM_CUTS = sorted(random.Random(2).sample(range(6 * LEAF), 3))
CUTS = [0, 1, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF, 6 * LEAF + 99, *RANDOM_CUTS]
VARIANTS = ["short", "cut", "chunked-end", "chunked-cut", "chunk-size"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("origin")
    return folder, str(mirror_folder(folder, FILES))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("at", CUTS)
def test_a_cut_answer_is_completed_elsewhere(origin: tuple[Path, str], tmp_path: Path, at: int, variant: str) -> None:
    folder, root = origin
    cut = Behaviour("TRUNCATED", variant, "data/*", at=at)
    with FaultServer(folder, cut) as bad, FaultServer(folder) as good:
        result = get(root, tmp_path / "copy", sources=[bad.url, good.url])
    check_copy(tmp_path / "copy", FILES, complete=True)
    assert result.refetched_bytes <= len(FILES["data/a.bin"]) + LEAF
    assert {source.url: source.wrong for source in result.sources} == {bad.url: 0, good.url: 0}, "no lie, no blame"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_source_that_always_cuts_in_the_first_leaf_ends_in_an_error_in_time(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, variant: str
) -> None:
    folder, root = origin
    with FaultServer(folder, Behaviour("TRUNCATED", variant, "data/*", at=10)) as bad:
        outcome = victim.get(root, tmp_path / "copy", [bad.url], deadline_s=1)
    if variant == "chunk-size":  # all of the body, then nonsense: what came is right, so it is taken
        assert outcome.error == ""
    else:
        assert outcome.error == "UnavailableError"
        assert "TRUNCATED" in outcome.message
        assert bad.url in outcome.message
    assert bad.stats().requests < 100, "no hammering"
    check_copy(tmp_path / "copy", FILES, complete=variant == "chunk-size")
    assert outcome.seconds < 15
    assert outcome.peak_bytes < PEAK_BYTES


@pytest.mark.parametrize("at", [0, 1, 100])
def test_cut_nodes_come_from_elsewhere(origin: tuple[Path, str], tmp_path: Path, at: int) -> None:
    folder, root = origin
    cut = Behaviour("TRUNCATED", "cut", ".holdfast/*", at=at)
    with FaultServer(folder, cut) as bad, FaultServer(folder) as good:
        get(root, tmp_path / "copy", sources=[bad.url, good.url])
    check_copy(tmp_path / "copy", FILES, complete=True)


def test_a_source_that_gives_one_leaf_an_answer_is_enough(origin: tuple[Path, str], tmp_path: Path) -> None:
    folder, root = origin
    with FaultServer(folder, Behaviour("TRUNCATED", "cut", "data/*", at=LEAF)) as miser:
        get(root, tmp_path / "copy", sources=[miser.url], deadline_s=10)
    check_copy(tmp_path / "copy", FILES, complete=True)


def test_what_came_before_the_cut_is_not_fetched_again_by_the_next_run(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path
) -> None:
    folder, root = origin
    with FaultServer(folder, Behaviour("TRUNCATED", "cut", "data/*", at=2 * LEAF + 5, last=1)) as bad:
        bad.play(
            Behaviour("TRUNCATED", "cut", "data/*", at=2 * LEAF + 5, last=1),
            Behaviour("TRUNCATED", "cut", "data/*", at=5),
        )
        assert victim.get(root, tmp_path / "copy", [bad.url], deadline_s=0.5).error == "UnavailableError"
        check_copy(tmp_path / "copy", FILES, complete=False)
        bad.play()
        before = bad.stats().bytes_sent
        assert victim.get(root, tmp_path / "copy", [bad.url]).error == ""
        assert bad.stats().bytes_sent - before <= len(FILES["data/a.bin"]) - 2 * LEAF + 1024, "and a few nodes"
    check_copy(tmp_path / "copy", FILES, complete=True)
