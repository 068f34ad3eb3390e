"""Bad input: one sentence, the exit code of the contract, one JSON object, no traceback; nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.conftest import Dataset, Done, environment

from support.mirror_server import MirrorServer, Reply

Command = Callable[..., Done]
NOWHERE = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"


@pytest.mark.parametrize("words", ["publish {} --name x", "cid {}", "car import {}", "verify {}"])
def test_a_missing_path_is_named(command: Command, tmp_path: Path, words: str) -> None:
    path = tmp_path / "absent"
    done = command(*words.format(path).split(), "--json", HOLDFAST_REPO=str(tmp_path / "repo"))
    done.failed(2, "config", str(path))


def test_an_empty_dataset_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    command("publish", tmp_path / "src", "--name", "x", "--repo", tmp_path / "repo", "--json").failed(
        2, "config", str(tmp_path / "src")
    )
    assert list((tmp_path / "src").iterdir()) == []


def test_a_folder_that_cannot_be_read_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "src/secret").mkdir(parents=True)
    (tmp_path / "src/secret/a.txt").write_text("x")
    (tmp_path / "src/secret").chmod(0)
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads everything, and there is no setpriv to be less")
        prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    publish = ["publish", tmp_path / "src", "--name", "x", "--repo", tmp_path / "repo", "--json"]
    try:
        command(*publish, prefix=prefix).failed(2, "config", str(tmp_path / "src"), "secret", "ermission")
        command("cid", tmp_path / "src", "--json", prefix=prefix).failed(2, "config", "secret", "ermission")
        (tmp_path / "src/b.txt").write_text("readable")
        done = command(*publish, prefix=prefix)
        assert done.code == 0
        assert {item["name"] for item in done.json()["skipped"]} == {"secret"}, "never dropped in silence"
    finally:
        (tmp_path / "src/secret").chmod(0o755)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("kind = \"nonsense\"", ["kind"]), ("url = \"ftp://x\"", ["url"]), ("unknown_key = 1", ["unknown_key"]),
        ("this is not toml", ["line"]),
    ],
)  # fmt: skip
def test_a_bad_roster_line_is_named(command: Command, tmp_path: Path, line: str, words: list[str]) -> None:
    roster = tmp_path / "roster.toml"
    good = {"name": '"a"', "kind": '"mirror"', "url": '"http://127.0.0.1:1"'}
    good.pop(line.split(" ")[0], None)
    lines = [f"{key} = {value}" for key, value in good.items()]
    roster.write_text("\n".join(["format = 1", "[[provider]]", *lines, line]) + "\n")
    command("get", NOWHERE, tmp_path / "copy", "--roster", roster, "--json").failed(2, "config", str(roster), *words)
    assert not (tmp_path / "copy").exists()


def test_an_absent_roster_is_named(command: Command, tmp_path: Path) -> None:
    command("ls", NOWHERE, "--roster", tmp_path / "no.toml", "--json").failed(2, "config", "no.toml")


def test_no_source_at_all_is_said(command: Command, tmp_path: Path) -> None:
    command("get", NOWHERE, tmp_path / "copy", "--json").failed(2, "config", "--from", "--roster", "HOLDFAST_ROSTER")
    assert not (tmp_path / "copy").exists()


def test_from_and_roster_exclude_each_other(command: Command, tmp_path: Path) -> None:
    for words in (
        ["get", NOWHERE, tmp_path / "c"],
        ["ls", NOWHERE],
        ["verify", NOWHERE],
        ["car", "export", NOWHERE, "-o", tmp_path / "x"],
    ):
        command(*words, "--from", "http://127.0.0.1:1", "--roster", tmp_path / "r.toml", "--json").failed(
            2, "config", "--from", "--roster"
        )


@pytest.mark.parametrize("uri", ["nonsense", "ipfs://", "ipfs://bafyBAD", "ipns://k51abc", "http://x/ipfs/y"])
def test_what_is_no_uri_is_said(command: Command, tmp_path: Path, uri: str) -> None:
    command("get", uri, tmp_path / "c", "--from", "http://127.0.0.1:1", "--json").failed(2, "config", uri)


def test_an_unknown_cid_is_unavailable_in_time_and_names_the_source(
    command: Command, tmp_path: Path, server: MirrorServer
) -> None:
    started = time.monotonic()
    done = command("get", NOWHERE, tmp_path / "c", "--from", server.url, "--deadline", "2s", "--json")
    done.failed(3, "unavailable", NOWHERE, server.url)
    assert time.monotonic() - started < 20
    assert not [path for path in (tmp_path / "c").rglob("*") if path.is_file()]


def test_a_path_that_is_not_there_is_the_users_mistake(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    for words in (["get", f"{dataset.uri}/data/nope", tmp_path / "c"], ["ls", f"{dataset.uri}/nope"]):
        command(*words, "--from", server.url, "--json").failed(2, "path", "nope")


def test_the_deadline_is_honoured_by_a_get_from_a_silent_server(
    dataset: Dataset, command: Command, tmp_path: Path
) -> None:
    def silent(_: str, reply: Reply) -> Reply:
        reply.pause_s = 60
        return reply

    with MirrorServer(dataset.mirror, silent) as server:
        started = time.monotonic()
        done = command("get", dataset.uri, tmp_path / "c", "--from", server.url, "--deadline", "2s", "--json")
        took = time.monotonic() - started
    done.failed(3, "unavailable", server.url)
    assert 2 <= took < 15, took


def test_wrong_bytes_that_nobody_heals_end_with_4_and_name_the_sender(
    dataset: Dataset, command: Command, tmp_path: Path
) -> None:
    def rotten(path: str, reply: Reply) -> Reply | None:
        if path.startswith("data/"):
            reply.body = bytes(len(reply.body))
        return reply

    with MirrorServer(dataset.mirror, rotten) as server:
        done = command("get", dataset.uri, tmp_path / "c", "--from", server.url, "--deadline", "3s", "--json")
    done.failed(4, "integrity", "WRONG_BYTES", server.url, "data/")
    assert not (tmp_path / "c/data").exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_said(dataset: Dataset, command: Command, tmp_path: Path, status: int) -> None:
    def refuse(_: str, reply: Reply) -> Reply:
        return Reply(status, {}, b"no")

    with MirrorServer(dataset.mirror, refuse) as server:
        roster = tmp_path / "r.toml"
        roster.write_text(
            f'format = 1\n[[provider]]\nname = "alice"\nkind = "peer"\nurl = "{server.url}"\ntoken_env = "T"\n'
        )
        words = ["get", dataset.uri, tmp_path / "c", "--roster", roster, "--deadline", "2s", "--json"]
        done = command(*words, T="secret-token-1")
        done.failed(3, "unavailable", "alice", "WITHHELD", str(status))
        assert "secret-token-1" not in done.out + done.err
        assert server.headers_seen[0]["Authorization"] == "Bearer secret-token-1"
        command(*words).failed(2, "config", "alice", "T")


@pytest.mark.parametrize(
    "words",
    [
        ["get", NOWHERE, "c", "--nonsense"], ["nonsense"], ["get", NOWHERE], ["publish", "."], ["car", "nonsense"],
        ["get", NOWHERE, "c", "--deadline", "soon"], ["publish", ".", "--name", "x", "--leaf-size", "3 apples"],
        ["publish", ".", "--name", "x", "--workers", "0"], ["publish", ".", "--name", "x", "--format", "zip"],
        ["serve", "--listen", "nonsense"], ["serve", "--token-file", "absent"], ["serve", "--max-bytes", "x"],
        ["serve", "--allow-net", "x"], ["get", NOWHERE, "c", "--from", "nonsense"], ["cid", ".", "--leaf-size", "2MiB"],
        ["ls", NOWHERE, "--repo", "absent"], ["car", "export", NOWHERE, "-o", "x.car", "--repo", "absent"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_option_is_the_users_mistake_and_json_too(command: Command, tmp_path: Path, words: list[str]) -> None:
    command(*words, "--json", cwd=tmp_path, HOLDFAST_REPO=str(tmp_path / "repo")).failed(2, "config")
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("words", [[], ["pin"], ["repo"], ["car"]], ids=" ".join)
def test_a_group_without_a_command_shows_what_it_has(command: Command, words: list[str]) -> None:
    done = command(*words)
    assert done.code == 2
    assert done.out.startswith("Usage: ")
    assert f" holdfast {' '.join([*words, '[OPTIONS]'])}" in done.out
    assert "Commands:" in done.out
    assert done.err == ""


def test_a_damaged_car_is_named_with_the_byte(dataset: Dataset, command: Command, tmp_path: Path) -> None:
    assert command("car", "export", dataset.uri, "-o", tmp_path / "a.car", "--repo", dataset.repo).code == 0
    data = bytearray((tmp_path / "a.car").read_bytes())
    (tmp_path / "cut.car").write_bytes(data[:-9])
    data[-9] ^= 1
    (tmp_path / "bad.car").write_bytes(data)
    for name, kind in (("cut.car", "format"), ("bad.car", "integrity")):
        command("car", "import", tmp_path / name, "--repo", tmp_path / "repo", "--json").failed(4, kind, name, "byte")
    assert list((tmp_path / "repo/files").iterdir()) == []


def test_a_destination_that_holds_something_else_is_left_alone(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c/thesis.txt").write_text("years")
    (tmp_path / "file").write_text("x")
    command("get", dataset.uri, tmp_path / "c", "--from", server.url, "--json").failed(2, "config", "not empty")
    command("get", dataset.uri, tmp_path / "file", "--from", server.url, "--json").failed(2, "config", "is a file")
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["thesis.txt"]


def test_a_full_disk_is_said(dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
              f'mount -t tmpfs -o size=24k holdfast "{tmp_path}/disk" && exec "$@"', "sh")  # fmt: skip
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs in a namespace of their own")
    command("get", dataset.uri, tmp_path / "disk/c", "--from", server.url, "--json", prefix=prefix).failed(
        2, "store", "no space left", str(tmp_path / "disk")
    )
    command(
        "publish", dataset.source, "--name", "x", "--repo", tmp_path / "disk/r", "--json", prefix=prefix
    ).failed(2, "store")  # fmt: skip


def test_a_bug_of_ours_ends_with_70_and_its_traceback_in_a_log(tmp_path: Path) -> None:
    script = """
import sys
from holdfast.cli import app
def broken(): raise ZeroDivisionError("on purpose")
app.app.command("broken")(broken)
sys.argv = ["holdfast", "broken"] + sys.argv[1:]
app.main()
"""
    script = script.replace("def broken(): raise", "def broken(json: bool = False): raise")
    done = subprocess.run(
        [sys.executable, "-c", script, "--json"], env=environment(tmp_path, TMPDIR=str(tmp_path)),
        capture_output=True, text=True,
    )  # fmt: skip
    found = Done(done.returncode, done.stdout, done.stderr).failed(70, "bug", "ZeroDivisionError", "on purpose")
    (log,) = tmp_path.glob("holdfast-*.log")
    assert str(log) in json.loads(found.out)["error"]["hint"]
    assert "Traceback" in log.read_text()


def test_a_reader_that_goes_away_is_no_error(dataset: Dataset, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m holdfast ls {dataset.uri} --repo {dataset.repo} | true"],
        env=environment(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
