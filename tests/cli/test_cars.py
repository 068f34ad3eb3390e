"""`car export` and `car import` as scripts use them: pipes, both versions, what is cut; trees of others by command."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.storage.dag import carv2
from support.foreign import VECTORS, files_in

from .conftest import HOLDFAST, Dataset, Done, environment

Command = Callable[..., Done]


@pytest.fixture
def car(dataset: Dataset, command: Command, tmp_path: Path) -> Path:
    path = tmp_path / "a.car"
    assert command("car", "export", dataset.uri, "-o", path, "--repo", dataset.repo).code == 0
    return path


def piped(tmp_path: Path, car: Path, *words: str) -> Done:
    """`cat CAR | holdfast …`."""
    with subprocess.Popen(["cat", str(car)], stdout=subprocess.PIPE) as cat:
        done = subprocess.run(
            [*HOLDFAST, *words], stdin=cat.stdout, capture_output=True, text=True, timeout=60,
            env=environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_car_is_read_from_a_pipe(dataset: Dataset, command: Command, tmp_path: Path, car: Path, name: str) -> None:
    (found,) = piped(tmp_path, car, "car", "import", name, "--repo", "repo", "--json").json()["cars"]
    assert (found["path"], found["roots"], found["complete"]) == (name, [dataset.root], True)
    assert command("verify", dataset.uri, "--repo", tmp_path / "repo").code == 0


def test_a_car_is_read_from_a_fifo(dataset: Dataset, command: Command, tmp_path: Path, car: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["dd", f"if={car}", f"of={tmp_path / 'pipe'}", "status=none"]):
        done = command("car", "import", tmp_path / "pipe", "--repo", tmp_path / "repo", "--json")
    assert done.json()["cars"][0]["complete"]
    assert command("verify", dataset.uri, "--repo", tmp_path / "repo").code == 0


def test_a_carv2_goes_out_and_in_again(dataset: Dataset, command: Command, tmp_path: Path, car: Path) -> None:
    words = ("car", "export", dataset.uri, "-o", tmp_path / "b.car", "--car-v2", "--repo", dataset.repo, "--json")
    out = command(*words).json()
    data = (tmp_path / "b.car").read_bytes()
    assert (data[:11], out["bytes"], out["root"]) == (carv2.PRAGMA, len(data), dataset.root)
    assert car.read_bytes() in data
    (found,) = command("car", "import", tmp_path / "b.car", "--repo", tmp_path / "repo", "--json").json()["cars"]
    assert (found["blocks"], found["complete"]) == (out["blocks"], True)
    assert command("verify", dataset.uri, "--repo", tmp_path / "repo").code == 0


def test_a_cut_pipe_is_named_with_the_byte_and_keeps_nothing(tmp_path: Path, car: Path) -> None:
    (tmp_path / "cut.car").write_bytes(car.read_bytes()[:5000])
    done = piped(tmp_path, tmp_path / "cut.car", "car", "import", "-", "--repo", "repo", "--json")
    done.failed(4, "format", "-: ", "ends at byte 5000", "get the CAR again")
    assert list((tmp_path / "repo/files").iterdir()) == []


def test_what_is_no_car_makes_no_repository(command: Command, tmp_path: Path, car: Path) -> None:
    (tmp_path / "no.car").write_bytes(b"hello world")
    for name, code, kind in (("no.car", 4, "format"), ("absent.car", 2, "config")):
        words = ("car", "import", car, tmp_path / name, "--repo", tmp_path / "repo", "--json")
        command(*words).failed(code, kind, name)
        assert not (tmp_path / "repo").exists()


def test_the_same_file_again_is_not_read_again(command: Command, tmp_path: Path, car: Path) -> None:
    words = ("car", "import", car, "--repo", tmp_path / "repo", "--json")
    assert command(*words).json() == command(*words).json()
    assert len(list((tmp_path / "repo/files").iterdir())) == 1


def test_a_car_that_lacks_blocks_is_kept_and_ends_with_1_until_the_rest_is_here(
    command: Command, tmp_path: Path
) -> None:
    whole = VECTORS["kubo-raw-small"]
    data = whole.car.read_bytes()
    end = data.rindex(b"hello world\n") + len(b"hello world\n")
    assert end < len(data), "cut between two sections: a CAR as good as any, to look at"
    (tmp_path / "part.car").write_bytes(data[:end])
    done = command("car", "import", tmp_path / "part.car", "--repo", tmp_path / "repo")
    assert done.code == 1
    assert f"ends at byte {end}" in done.out
    assert "import the rest" in done.out
    both = command("car", "import", tmp_path / "part.car", whole.car, "--repo", tmp_path / "repo", "--json")
    assert (both.code, [item["complete"] for item in both.json()["cars"]]) == (0, [True, True])


def test_trees_of_others_are_listed_fetched_and_verified(command: Command, tmp_path: Path) -> None:
    for name in ("kubo-cidv0", "kubo-links", "helia-sharded-16"):
        vector, repo, copy = VECTORS[name], tmp_path / f"{name}.repo", tmp_path / name
        assert command("car", "import", vector.car, "--repo", repo).code == 0
        listed = command("ls", vector.root, "--repo", repo, "--json").json()["entries"]
        assert {entry["name"] for entry in listed} == {path.split("/")[0] for path in (*vector.files, *vector.links)}
        got = command("get", vector.root, copy, "--repo", repo, "--json").json()
        assert files_in(copy) == vector.files
        assert got["links"] == [f"{path} → {target}" for path, target in sorted(vector.links.items())]
        assert command("verify", copy).code == 0
        assert command("verify", vector.root, "--repo", repo).code == 0
        shutil.rmtree(copy)
