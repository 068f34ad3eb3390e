"""`cache` as a person types it: what training left on this disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cli.conftest import Dataset, Done

from holdfast import StreamingDataset
from support.mirror_server import MirrorServer

Command = Callable[..., Done]


def test_listed_verified_healed_and_cleared(
    command: Command, dataset: Dataset, server: MirrorServer, tmp_path: Path
) -> None:
    where = ("--cache", str(tmp_path))
    assert command("cache", "ls", *where, "--json").json() == {"files": [], "held_bytes": 0, "decoded_bytes": 0}
    reader = StreamingDataset(dataset.uri, sources=[server.url], cache=tmp_path)
    first = list(reader)
    used = command("cache", "ls", *where, "--json").json()
    assert used["held_bytes"] == sum(row["bytes"] for row in used["files"]) > 0
    assert any(row["in_use"] for row in used["files"])
    assert command("cache", "clear", *where, "--json").json()["left_files"] > 0, "what is in use stays"
    reader.close()

    good = command("cache", "verify", *where, "--json")
    assert (good.code, good.json()["rotten"]) == (0, [])
    largest = max((tmp_path / "shards").glob("*[!s]"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    bad = command("cache", "verify", *where, "--json")
    assert bad.code == 1
    assert [row["cid"] for row in bad.json()["rotten"]] == [largest.name]
    assert command("cache", "verify", *where).code == 0, "what was rotten is no longer held"
    held = command("cache", "ls", *where, "--json").json()
    assert held["held_bytes"] < sum(row["bytes"] for row in held["files"])

    again = StreamingDataset(dataset.uri, sources=[server.url], cache=tmp_path)
    assert list(again) == first, "and is fetched again"
    again.close()
    words = command("cache", "ls", *where)
    assert words.out.splitlines()[-1].startswith(f"{len(used['files'])} files, ")
    cleared = command("cache", "clear", *where, "--json").json()
    assert cleared["left_files"] == 0
    assert cleared["freed_bytes"] > held["held_bytes"]
    assert command("cache", "ls", *where, "--json").json()["files"] == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_is_no_cache_is_said(command: Command, tmp_path: Path) -> None:
    """“0 rotten” of a name that was misspelt would be a clean bill of health."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "a.tar").write_bytes(b"x")
    for wrong, why in (("none", "is no folder"), ("file", "is no folder"), ("tars", "holds something else")):
        for verb in ("ls", "verify", "clear"):
            command("cache", verb, "--cache", str(tmp_path / wrong), "--json").failed(2, "config", why)
    assert (tmp_path / "tars" / "a.tar").exists()
