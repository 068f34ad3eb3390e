"""T7: a destination in which somebody laid links to elsewhere. They are not followed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from support.disk import check_copy
from support.trees import LEAF, mirror_folder
from support.victim import END_S, PEAK_BYTES, Outcome, Victim

FILES = {"data/a.bin": random.Random(11).randbytes(2 * LEAF + 5), "b.txt": b"b"}


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(mirror_folder(tmp_path / "origin", FILES))


def _bounded(outcome: Outcome) -> None:
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < END_S


@pytest.mark.parametrize("trap", ["data", ".holdfast", ".holdfast/blocks", ".holdfast/partial"])
def test_a_folder_in_dest_that_is_a_symlink_is_not_followed(
    victim: Victim, tmp_path: Path, root: str, outside: Path, trap: str
) -> None:
    (tmp_path / "dest/.holdfast").mkdir(parents=True)
    if trap == ".holdfast":
        (tmp_path / "dest/.holdfast").rmdir()
    (tmp_path / "dest" / trap).symlink_to(outside)
    with FaultServer(tmp_path / "origin") as server:
        outcome = victim.get(root, tmp_path / "dest", [server.url])
    assert outcome.error in ("ConfigError", "StoreError"), outcome
    assert "symlink" in outcome.message or "symbolic" in outcome.message
    assert (tmp_path / "dest" / trap).is_symlink()
    (tmp_path / "dest" / trap).unlink()
    check_copy(tmp_path / "dest", FILES, complete=False)
    _bounded(outcome)


def test_files_in_dest_that_are_symlinks_are_replaced_not_followed(
    victim: Victim, tmp_path: Path, root: str, outside: Path
) -> None:
    nodes = [path.name for path in (tmp_path / "origin/.holdfast/blocks").iterdir()]
    for name in ("data/a.bin", "b.txt", *(f".holdfast/blocks/{node}" for node in nodes)):
        path = tmp_path / "dest" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(outside / "precious.txt")
    with FaultServer(tmp_path / "origin") as server:
        outcome = victim.get(root, tmp_path / "dest", [server.url])
    assert outcome.error == "", outcome
    check_copy(tmp_path / "dest", FILES, complete=True)
    _bounded(outcome)


def test_a_partial_file_that_is_a_symlink_is_not_written_through(
    victim: Victim, tmp_path: Path, root: str, outside: Path
) -> None:
    with FaultServer(tmp_path / "origin", Behaviour("MISSING", paths="data/*")) as server:
        first = victim.get(root, tmp_path / "dest", [server.url], deadline_s=1)
    assert first.error == "UnavailableError", first
    partial = [path for path in (tmp_path / "dest/.holdfast/partial").iterdir() if path.suffix != ".marks"]
    assert partial
    for path in partial:
        path.unlink()
        path.symlink_to(outside / "precious.txt")
    with FaultServer(tmp_path / "origin") as server:
        outcome = victim.get(root, tmp_path / "dest", [server.url])
    assert outcome.error == "StoreError", outcome
    for path in partial:
        assert path.is_symlink()
        path.unlink()
    check_copy(tmp_path / "dest", FILES, complete=False)
    _bounded(first)
    _bounded(outcome)


def test_the_users_own_symlink_to_a_folder_is_a_destination(victim: Victim, tmp_path: Path, root: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "dest").symlink_to(tmp_path / "real")
    with FaultServer(tmp_path / "origin") as server:
        outcome = victim.get(root, tmp_path / "dest", [server.url])
    assert outcome.error == "", outcome
    check_copy(tmp_path / "real", FILES, complete=True)
    _bounded(outcome)
