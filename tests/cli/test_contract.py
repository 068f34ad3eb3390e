"""The command-line contract (design, "The contract"): a test per line of it. What succeeds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import HOLDFAST, Dataset, Done, environment

from support.mirror_server import MirrorServer, Reply
from support.sources import snapshot, write
from support.trees import LEAF, file_dag

Command = Callable[..., Done]


def plain(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".holdfast" not in path.parts
    }


def test_publish_prints_what_it_promises(dataset: Dataset) -> None:
    found = dataset.published
    assert {"root", "uri", "name", "samples", "shards", "bytes", "new_bytes", "seconds", "pins"} <= set(found)
    assert found["uri"] == f"ipfs://{found['root']}"
    assert (found["name"], found["samples"], found["pins"]) == ("mini", 24, [])
    assert found["shards"] >= 1
    assert 0 < found["new_bytes"] <= found["bytes"] + 100_000
    assert isinstance(found["seconds"], float)


def test_publishing_again_is_a_no_op(dataset: Dataset, command: Command) -> None:
    before = snapshot(dataset.source)
    again = command(
        "publish", dataset.source, "--name", "mini", "--repo", dataset.repo, "--leaf-size", "16KiB",
        "--shard-size", "64KiB", "--workers", "1", "--json",
    ).json()  # fmt: skip
    assert again["root"] == dataset.root
    assert again["new_bytes"] == 0
    assert snapshot(dataset.source) == before


def test_get_prints_what_it_promises_and_dest_is_a_complete_mirror(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    done = command("get", dataset.uri, tmp_path / "copy", "--from", server.url + "/", "--json")
    assert done.code == 0, done
    assert done.err == "", "progress is for terminals"
    found = done.json()
    assert {"bytes", "seconds", "refetched_bytes", "sources"} <= set(found)
    (source,) = found["sources"]
    assert set(source) == {"url", "bytes", "requests", "wrong", "state"}
    assert source["url"] == server.url + "/", "as given"
    assert (source["wrong"], source["state"]) == (0, "good")
    assert found["bytes"] == sum(map(len, plain(tmp_path / "copy").values()))
    assert snapshot_names(tmp_path / "copy") == snapshot_names(dataset.mirror)
    assert plain(tmp_path / "copy") == plain(dataset.mirror)
    assert [path.name for path in (tmp_path / "copy/.holdfast").iterdir()] == ["blocks"]
    with MirrorServer(tmp_path / "copy") as second:
        assert command("get", dataset.uri, tmp_path / "third", "--from", second.url).code == 0
    assert plain(tmp_path / "third") == plain(dataset.mirror)


def snapshot_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_bare_cid_and_a_path_below_it_are_uris(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    assert command("get", dataset.root, tmp_path / "a", "--from", server.url).code == 0
    assert plain(tmp_path / "a") == plain(dataset.mirror)
    assert command("get", f"{dataset.uri}/manifest", tmp_path / "b", "--from", server.url).code == 0
    assert plain(tmp_path / "b") == {"00000.jsonl": plain(dataset.mirror)["manifest/00000.jsonl"]}


def test_get_fetches_one_partition(command: Command, tmp_path: Path) -> None:
    source = write(tmp_path / "src", {})
    for part in ("train", "val"):
        import io
        import tarfile

        (source / part).mkdir(parents=True)
        with tarfile.open(source / part / "0.tar", "w") as tar:
            info = tarfile.TarInfo(f"{part}.txt")
            info.size = 4
            tar.addfile(info, io.BytesIO(b"text"))
    uri = command("publish", source, "--name", "p", "--repo", tmp_path / "repo", "--json").json()["uri"]
    head = command("inspect", uri, "--repo", tmp_path / "repo", "--json").json()["head"]
    names = [part["name"] for part in head["partitions"]]
    if len(names) < 2:
        pytest.fail(f"tars in two folders are two partitions, found {names}")
    done = command("get", uri, tmp_path / "copy", "--repo", tmp_path / "repo", "--partition", names[0], "--json")
    assert done.code == 0, done
    shards = [name for name in plain(tmp_path / "copy") if name.startswith("data/")]
    assert len(shards) == 1
    assert names[0] in shards[0]
    command(
        "get", uri, tmp_path / "none", "--repo", tmp_path / "repo", "--partition", "test", "--json"
    ).failed(2, "config", "test", *names)  # fmt: skip


def test_ls_inspect_and_verify_agree_about_a_dataset(dataset: Dataset, command: Command, server: MirrorServer) -> None:
    listed = command("ls", dataset.uri, "--from", server.url, "--json").json()
    assert {"dataset.json", "manifest", "data"} <= {entry["name"] for entry in listed["entries"]}
    words = command("ls", f"{dataset.uri}/data", "--from", server.url)
    assert words.code == 0
    assert all(name.split("/")[1] in words.out for name in plain(dataset.mirror) if name.startswith("data/"))
    head = command("inspect", dataset.uri, "--from", server.url, "--json").json()["head"]
    assert (head["samples"], head["shards"]) == (dataset.published["samples"], dataset.published["shards"])
    checked = command("verify", dataset.uri, "--from", server.url, "--json")
    assert checked.code == 0
    assert checked.json()["ok"] is True
    checked = command("verify", dataset.mirror, "--json")
    assert checked.code == 0, checked
    assert checked.json()["root"] == dataset.root


def test_verify_ends_with_1_when_a_byte_is_flipped_and_names_the_file(
    dataset: Dataset, command: Command, tmp_path: Path, server: MirrorServer
) -> None:
    assert command("get", dataset.uri, tmp_path / "copy", "--from", server.url).code == 0
    name = max((n for n in plain(dataset.mirror) if n.startswith("data/")), key=len)
    data = bytearray((tmp_path / "copy" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "copy" / name).write_bytes(data)
    done = command("verify", tmp_path / "copy", "--json")
    assert done.code == 1, done
    found = done.json()
    assert found["ok"] is False
    assert [finding["path"] for finding in found["findings"]] == [name]
    with MirrorServer(tmp_path / "copy") as rotten:
        done = command("verify", dataset.uri, "--from", rotten.url, "--deadline", "3s", "--json")
    assert done.code == 1, done
    assert done.json()["findings"][0]["path"] == name
    assert "Traceback" not in done.err


def test_cid_prints_the_cid_first(command: Command, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(3 * LEAF)
    (tmp_path / "x y.bin").write_bytes(data)
    expected = str(file_dag(data)[1].cid)
    done = command("cid", tmp_path / "x y.bin", "--leaf-size", "16KiB")
    assert done.out.split()[0] == expected
    assert len(done.out.splitlines()) == 1
    assert command("cid", tmp_path / "x y.bin", "--leaf-size", "16KiB", "--json").json()["cid"] == expected


def test_a_car_goes_out_and_in_again(dataset: Dataset, command: Command, tmp_path: Path, server: MirrorServer) -> None:
    out = command("car", "export", dataset.uri, "-o", tmp_path / "a.car", "--repo", dataset.repo, "--json").json()
    assert out["root"] == dataset.root
    over_http = command("car", "export", dataset.root, "-o", tmp_path / "b.car", "--from", server.url, "--json")
    assert over_http.code == 0, over_http
    assert (tmp_path / "a.car").read_bytes() == (tmp_path / "b.car").read_bytes(), "the same bytes every time"
    (car,) = command("car", "import", tmp_path / "a.car", "--repo", tmp_path / "new", "--json").json()["cars"]
    assert (car["roots"], car["blocks"], car["complete"], car["missing"]) == ([dataset.root], out["blocks"], True, None)
    assert command("ls", dataset.uri, "--repo", tmp_path / "new").code == 0
    assert command("verify", dataset.uri, "--repo", tmp_path / "new").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.car", "b.car", "new"], "and nothing else is left"


def test_from_is_exclusive(dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path) -> None:
    with MirrorServer(tmp_path / "empty") as empty:
        (tmp_path / "roster.toml").write_text(
            f'format = 1\n[[provider]]\nname = "a"\nkind = "mirror"\nurl = "{server.url}"\n'
        )
        done = command(
            "get", dataset.uri, tmp_path / "copy", "--from", empty.url, "--deadline", "1s", "--json",
            HOLDFAST_ROSTER=str(tmp_path / "roster.toml"),
        )  # fmt: skip
        done.failed(3, "unavailable", empty.url)
        assert server.requests == []
        done = command("get", dataset.uri, tmp_path / "copy", HOLDFAST_ROSTER=str(tmp_path / "roster.toml"))
        assert done.code == 0, "without --from the roster of the environment is read"
    assert plain(tmp_path / "copy") == plain(dataset.mirror)


def test_version_and_help(command: Command) -> None:
    assert command("--version").out.startswith("holdfast ")
    for words in (["--help"], ["get", "--help"], ["car", "export", "--help"]):
        done = command(*words)
        assert (done.code, done.err) == (0, "")
        assert "Usage" in done.out


def _start(args: list[object], home: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*HOLDFAST, *map(str, args)], env=environment(home, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=home,
        # tests started in the background inherit "ignore SIGINT", and Python would keep to it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_where_it_is_and_ends_cleanly(
    dataset: Dataset, command: Command, tmp_path: Path, number: signal.Signals
) -> None:
    peer = _start(["serve", "--repo", dataset.repo, "--listen", "127.0.0.1:0", "--json"], tmp_path)
    try:
        assert peer.stdout is not None
        about: dict[str, Any] = json.loads(peer.stdout.readline())
        assert set(about) == {"url", "peer_id", "pid"}
        assert about["pid"] == peer.pid
        assert command("get", dataset.uri, tmp_path / "copy", "--from", about["url"]).code == 0
        taken = about["url"].removeprefix("http://")
        command("serve", "--repo", tmp_path / "r2", "--listen", taken, "--json").failed(2, "config", taken, "in use")
        command("serve", "--repo", dataset.repo, "--listen", "127.0.0.1:0", "--json").failed(
            2, "config", str(dataset.repo)
        )
        os.kill(peer.pid, number)
        out, err = peer.communicate(timeout=20)
    finally:
        peer.kill()
        peer.wait()
    assert peer.returncode == 0, err
    assert out == "", "one object, no more"
    assert "Traceback" not in err
    assert plain(tmp_path / "copy") == plain(dataset.mirror)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_get_ends_with_130_and_nothing_half_done_is_visible(
    dataset: Dataset, tmp_path: Path, number: signal.Signals
) -> None:
    told: list[str] = []

    def silent(path: str, reply: Reply) -> Reply | None:
        if path.startswith("data/"):
            reply.pause_s = 60
            if not told:
                told.append(path)
                os.kill(process.pid, number)
        return reply

    with MirrorServer(dataset.mirror, silent) as server:
        process = _start(["get", dataset.uri, tmp_path / "copy", "--from", server.url, "--json"], tmp_path)
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130, (out, err)
    assert json.loads(out)["error"]["message"] == "interrupted"
    assert "Traceback" not in err
    right = plain(dataset.mirror)
    for name, data in plain(tmp_path / "copy").items():
        assert data == right[name]
