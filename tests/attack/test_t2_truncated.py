"""T2: answers that end early, under a status that says all is well. Nothing is missing afterwards."""

import random
from pathlib import Path

import pytest

from holdfast.storage.errors import UnavailableError
from holdfast.storage.get import get
from support.mirror_server import MirrorServer, Reply, Script
from support.trees import LEAF, mirror_folder

FILES = {"data/a.bin": random.Random(9).randbytes(6 * LEAF + 100)}
CUTS = [0, 1, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF, 6 * LEAF + 99]


def _cut(at: int, *, honest_length: bool) -> Script:
    def script(path: str, reply: Reply) -> Reply | None:
        if path.startswith("data/") and len(reply.body) > at:
            if honest_length:
                reply.body = reply.body[:at]
            else:
                reply.headers["Content-Length"] = str(len(reply.body))
                reply.cut = at
        return reply

    return script


@pytest.mark.parametrize("honest_length", [True, False], ids=["short length", "cut connection"])
@pytest.mark.parametrize("at", CUTS)
def test_a_cut_answer_is_completed_elsewhere(tmp_path: Path, at: int, honest_length: bool) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with (
        MirrorServer(tmp_path / "origin", _cut(at, honest_length=honest_length)) as bad,
        MirrorServer(tmp_path / "origin") as good,
    ):
        result = get(str(root), tmp_path / "copy", sources=[bad.url, good.url])
    assert (tmp_path / "copy/data/a.bin").read_bytes() == FILES["data/a.bin"]
    assert not list((tmp_path / "copy").rglob("*.marks"))
    assert result.refetched_bytes <= len(FILES["data/a.bin"]) + LEAF


def test_a_source_that_always_cuts_at_the_first_leaf_ends_in_an_error_in_time(tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with MirrorServer(tmp_path / "origin", _cut(10, honest_length=False)) as bad:
        with pytest.raises(UnavailableError, match="TRUNCATED"):
            get(str(root), tmp_path / "copy", sources=[bad.url], deadline_s=1)
        assert len(bad.requests) < 100, "no hammering"
    assert not (tmp_path / "copy/data/a.bin").exists()


def test_a_source_that_gives_one_leaf_an_answer_is_enough(tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with MirrorServer(tmp_path / "origin", _cut(LEAF, honest_length=False)) as miser:
        get(str(root), tmp_path / "copy", sources=[miser.url], deadline_s=10)
    assert (tmp_path / "copy/data/a.bin").read_bytes() == FILES["data/a.bin"]
