"""A source redirects to what breaks a client. It is that source's failure and nobody else's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from support.disk import check_copy, evidence_of, files_of
from support.published import publish_mirror
from support.trees import LEAF, mirror_folder
from support.victim import END_S, PEAK_BYTES, Outcome, Victim

LOCATIONS = [
    "http://[::1", "http://[1::2::3]/", "http://a:99999/", "http://a:x/", "//[", "http://a b/", "http://a\tb/",
    "http://a..b/", "http://" + "a" * 300 + "/", "http://bob:hunter2@127.0.0.1/", "ftp://bob:hunter2@a/",
    "http://\xe9/", "http:///x", "\\\\a\\b", "http://a\\@b/", "http://127.0.0.1:0/",
]  # fmt: skip
FILES = {"data/a.bin": random.Random(7).randbytes(5 * LEAF), "b.txt": b"b"}


def _to(location: str) -> tuple[Behaviour, ...]:
    """Everything leads to `location`, but for what finds out of which kind a source is."""
    return Behaviour("OK", paths="*bafkqaaa*"), Behaviour("UNREACHABLE", "redirect", location=location)


def _bounded(outcome: Outcome) -> None:
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < END_S


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("origin")
    return folder, str(mirror_folder(folder, FILES))


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_copy_is_complete_beside_a_source_that_redirects_to_nonsense(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, location: str
) -> None:
    folder, root = origin
    with FaultServer(folder, *_to(location)) as bad, FaultServer(folder) as good:
        outcome = victim.get(root, tmp_path / "copy", [bad.url, good.url], deadline_s=10)
        assert bad.stats().played["UNREACHABLE/redirect"]
    assert outcome.error == "", outcome
    check_copy(tmp_path / "copy", FILES, complete=True)
    assert outcome.sources[good.url]["state"] == "good"
    assert all(source["wrong"] == 0 for source in outcome.sources.values())
    assert evidence_of(victim.cache) == []
    _bounded(outcome)


@pytest.mark.parametrize("location", LOCATIONS)
def test_alone_it_ends_in_a_sentence_that_prints_no_password(
    victim: Victim, origin: tuple[Path, str], tmp_path: Path, location: str
) -> None:
    folder, root = origin
    with FaultServer(folder, *_to(location)) as bad:
        outcome = victim.get(root, tmp_path / "copy", [bad.url], deadline_s=0.3)
    assert outcome.error == "UnavailableError", outcome
    assert "UNREACHABLE" in outcome.message or "FORBIDDEN" in outcome.message
    assert "hunter2" not in outcome.message
    assert "bob" not in outcome.message
    assert "bug" not in outcome.message
    check_copy(tmp_path / "copy", FILES, complete=False)
    assert not set(files_of(tmp_path / "copy")) & set(FILES)
    assert not any(b"hunter2" in data for data in (files_of(victim.cache) | files_of(tmp_path)).values())
    _bounded(outcome)


@pytest.mark.parametrize("location", LOCATIONS[:3])
def test_training_goes_on_beside_it(victim: Victim, tmp_path: Path, location: str) -> None:
    (tmp_path / "src").mkdir()
    for n in range(40):
        (tmp_path / f"src/{n}.txt").write_text(f"text {n} " * 200)
    uri = publish_mirror(tmp_path, tmp_path / "src", leaf_size=LEAF, shard_size=2 * LEAF)
    with FaultServer(tmp_path / "mirror", *_to(location)) as bad, FaultServer(tmp_path / "mirror") as good:
        outcome = victim.delivered(uri, [bad.url, good.url], deadline_s=10)
        assert bad.stats().played["UNREACHABLE/redirect"]
    assert outcome.error == "", outcome
    assert {sample["path"]: sample["text"] for sample in outcome.value} == {
        f"{n}.txt": f"text {n} " * 200 for n in range(40)
    }
    published = {path.read_bytes() for path in (tmp_path / "mirror").rglob("*") if path.is_file()}
    shards = files_of(victim.training / "shards")
    assert {data for name, data in shards.items() if not name.endswith(".marks")} <= published
    assert evidence_of(victim.cache) == []
    _bounded(outcome)
