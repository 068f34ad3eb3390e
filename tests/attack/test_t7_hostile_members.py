"""T7, T12: members of a shard that are made to run code or to leave their folder. They are data, whatever they say."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.demo.faults.server import FaultServer
from support.disk import files_of
from support.published import publish_mirror
from support.victim import END_S, PEAK_BYTES, Victim


class _Canary:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self._path),)


def _tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if "\0" in name:
                info = tarfile.TarInfo("x.txt")
                info.pax_headers = {"path": name}
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _object_array(canary: Path) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([_Canary(canary)], dtype=object), allow_pickle=True)
    return out.getvalue()


def _check_cache(victim: Victim, mirror: Path) -> None:
    """Shards as they were published, by their CIDs, and nothing made of what is in them."""
    published = {path.read_bytes() for path in mirror.rglob("*") if path.is_file()}
    cached = files_of(victim.training)
    assert {data for name, data in cached.items() if name.startswith("shards/") and "marks" not in name} <= published
    assert {Path(name).parts[0] for name in cached} <= {"shards", "nodes"}, sorted(cached)


EXTENSIONS = ["pyd", "pkl", "pickle", "pth", "pt", "PKL", "meta.pkl", "npy", "npz", "ten", "tb"]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_member_that_would_run_code_is_refused_and_named(
    victim: Victim, tmp_path: Path, outside: Path, extension: str
) -> None:
    canary = outside / "canary"
    evil = _object_array(canary) if extension == "npy" else pickle.dumps(_Canary(canary))
    _tar(tmp_path / "src/s.tar", [("good.txt", b"good"), (f"evil7.{extension}", evil)])
    uri = publish_mirror(tmp_path, tmp_path / "src")
    with FaultServer(tmp_path / "mirror") as server:
        for decode in ("torch", "pil"):
            outcome = victim.train(uri, [server.url], options={"decode": decode, "shuffle": False})
            assert outcome.error == "SampleError", outcome
            assert "evil7" in outcome.message
            assert extension in outcome.message
            assert outcome.peak_bytes < PEAK_BYTES
            assert outcome.seconds < END_S
            assert not canary.exists()
        outcome = victim.delivered(uri, [server.url], options={"shuffle": False})
    good, found = outcome.value
    assert good["txt"] == b"good"
    assert found[extension] == evil, "undecoded it is bytes, as published"
    assert not canary.exists()
    assert outcome.peak_bytes < PEAK_BYTES
    _check_cache(victim, tmp_path / "mirror")


NAMES = ["../x", "/x", "C:\\x", "a/../../b", "nul\0byte", "~/x", "é/e\u0301", "-rf", "$(touch x)", "a\nb"]


def test_member_names_are_keys_and_never_paths(victim: Victim, tmp_path: Path, outside: Path) -> None:
    members = [(f"{name}.txt", str(number).encode()) for number, name in enumerate(NAMES)]
    _tar(tmp_path / "src/s.tar", members)
    rooted = [Path("/x.txt"), Path("/b.txt"), Path.home() / "x.txt"]
    assert not any(path.exists() for path in rooted)
    uri = publish_mirror(tmp_path, tmp_path / "src")
    with FaultServer(tmp_path / "mirror") as server:
        outcome = victim.delivered(uri, [server.url], options={"shuffle": False})
    assert outcome.error == "", outcome
    found = {sample["__key__"]: sample["txt"] for sample in outcome.value}
    assert found == {name: str(number).encode() for number, name in enumerate(NAMES)}
    assert not any(path.exists() for path in rooted)
    for place in (victim.cache, tmp_path / "mirror", tmp_path / "repo"):
        assert not [path for path in place.rglob("*") if path.name in ("x.txt", "b.txt", "x", "b")]
    _check_cache(victim, tmp_path / "mirror")
    assert outcome.peak_bytes < PEAK_BYTES
    assert outcome.seconds < END_S
