"""The real command in a process of its own, in a home of its own, on a dataset published by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.mirror_server import MirrorServer
from support.sources import snapshot, write

HOLDFAST = [sys.executable, "-m", "holdfast"]


@dataclass
class Done:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output is one JSON object on one line, and nothing else."""
        assert self.out.endswith("\n"), self
        assert len(self.out.splitlines()) == 1, self
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    def failed(self, code: int, kind: str, *words: str) -> Done:
        """One sentence on standard error, the error object on standard output, no traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self
        assert self.err.startswith("holdfast: "), self
        error = self.json()["error"]
        assert set(error) == {"kind", "message", "hint"}
        assert error["kind"] == kind, self
        assert f"holdfast: {error['message']}" in self.err
        for word in words:
            assert word in error["message"] + error["hint"], self
        return self


def environment(home: Path, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOLDFAST_", "XDG_"))}
    return {**kept, "HOME": str(home), **extra}


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    home = tmp_path_factory.mktemp("home")

    def run(*args: object, prefix: tuple[str, ...] = (), cwd: Path | None = None, **env: str) -> Done:
        done = subprocess.run(
            [*prefix, *HOLDFAST, *map(str, args)],
            env=environment(home, **env), capture_output=True, text=True, timeout=60, cwd=cwd or home,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@dataclass
class Dataset:
    source: Path
    repo: Path
    mirror: Path
    published: dict[str, Any]
    got: dict[str, Any]

    @property
    def root(self) -> str:
        return str(self.published["root"])

    @property
    def uri(self) -> str:
        return str(self.published["uri"])


@pytest.fixture(scope="session")
def dataset(command: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Published and copied out by the command line; two partitions."""
    place = tmp_path_factory.mktemp("dataset")
    lines = {f"{part}/f{n}.txt": f"{part} {n}\n".encode() * 900 for part in ("train", "val") for n in range(12)}
    source = write(place / "src", lines)
    before = snapshot(source)
    done = command(
        "publish", source, "--name", "mini", "--repo", place / "repo", "--leaf-size", "16KiB", "--shard-size", "64KiB",
        "--json",
    )  # fmt: skip
    assert done.code == 0, done
    assert snapshot(source) == before, "SRC is never written to"
    published = done.json()
    got = command("get", published["uri"], place / "mirror", "--repo", place / "repo", "--json")
    assert got.code == 0, got
    return Dataset(source, place / "repo", place / "mirror", published, got.json())


@pytest.fixture
def server(dataset: Dataset) -> Iterator[MirrorServer]:
    with MirrorServer(dataset.mirror) as server:
        yield server
