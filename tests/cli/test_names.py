"""`key` and `name` as a person types them, and datasets read by name."""

import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.conftest import HOLDFAST, Dataset, Done, environment

from support.running_node import RunningNode

Command = Callable[..., Done]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A memory of names for one test."""
    return {"XDG_DATA_HOME": str(tmp_path / "data"), "HOLDFAST_REPO": str(tmp_path / "repo")}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with RunningNode(tmp_path / "peer") as node:
        yield node


def test_a_dataset_is_published_and_read_by_name(
    command: Command, dataset: Dataset, node: RunningNode, env: dict[str, str], tmp_path: Path
) -> None:
    made = command("key", "gen", "mini", "--json", **env).json()
    assert made["name"].startswith("k51")
    assert command("key", "ls", "--json", **env).json()["keys"] == [made]
    said = command("name", "publish", "mini", dataset.uri, "--to", node.url, "--json", **env).json()
    assert (said["sequence"], said["value"], said["parent"]) == (0, f"/ipfs/{dataset.root}", None)
    assert said["places"] == [{"place": node.url, "problem": ""}]
    for text in ("mini", made["name"], f"ipns://{made['name']}"):
        assert command("name", "resolve", text, "--from", node.url, "--json", **env).json()["root"] == dataset.root
    from support.mirror_server import MirrorServer

    with MirrorServer(dataset.mirror) as mirror:
        both = ("--from", node.url, "--from", mirror.url)
        got = command("get", f"ipns://{made['name']}", tmp_path / "copy", *both, "--json", **env)
        assert got.code == 0, got
        listed = command("ls", f"ipns://{made['name']}/data", *both, **env)
        assert listed.code == 0, listed
        assert "no record of this name" in got.err, "the mirror keeps no names, and it is said so"
        inspected = command("inspect", made["name"], *both, "--json", **env).json()
    assert inspected["root"] == dataset.root
    assert command("verify", tmp_path / "copy", "--root", dataset.uri, **env).code == 0


def test_moving_a_name_records_its_parent_and_an_old_record_is_refused(
    command: Command, dataset: Dataset, node: RunningNode, env: dict[str, str]
) -> None:
    name = command("key", "gen", "mini", "--json", **env).json()["name"]
    command("name", "publish", "mini", "bafkqaaa", "--to", node.url, **env)
    old = node.get(f"/routing/v1/ipns/{name}").body
    said = command("name", "publish", "mini", dataset.root, "--to", node.url, "--json", **env).json()
    assert (said["sequence"], said["parent"]) == (1, "/ipfs/bafkqaaa")
    shown = command("name", "show", "mini", "--from", node.url, **env)
    assert f"/ipfs/{dataset.root}" in shown.out
    assert f"found at   {node.url}" in shown.out
    with RunningNode(Path(env["XDG_DATA_HOME"]) / "mallory") as mallory:
        put = mallory.ask("PUT", f"/routing/v1/ipns/{name}", {"Content-Type": "application/vnd.ipfs.ipns-record"}, old)
        assert put.status == 200
        found = command("name", "resolve", name, "--from", mallory.url, "--json", **env)
        assert found.json()["root"] == dataset.root, "as it was seen before"
        assert "an older version" in found.err
        other = command(
            "name", "resolve", name, "--from", mallory.url, "--json", XDG_DATA_HOME=env["XDG_DATA_HOME"] + "2"
        )
        assert other.json()["root"] == "bafkqaaa", "who has seen nothing believes it"
        command("name", "forget", name, **env)
        again = command("name", "resolve", name, "--from", mallory.url, "--json", **env)
        assert again.json()["root"] == "bafkqaaa"


def test_wrong_turns_are_said_so(command: Command, dataset: Dataset, env: dict[str, str], tmp_path: Path) -> None:
    def failed(*args: object) -> Done:
        return command(*args, "--json", **env)

    failed("name", "publish", "nobody", dataset.uri, "--to", "http://127.0.0.1:9").failed(2, "config", "key gen")
    name = command("key", "gen", "mini", "--json", **env).json()["name"]
    failed("key", "gen", "mini").failed(2, "config", "already")
    failed("key", "gen", "a/b").failed(2, "config", "label")
    failed("name", "publish", "mini", dataset.uri).failed(2, "config", "--to")
    failed("name", "publish", "mini", f"{dataset.uri}/data", "--to", "http://127.0.0.1:9").failed(2, "config", "whole")
    failed("name", "publish", "mini", name, "--to", "http://127.0.0.1:9").failed(2, "config", "is a name")
    failed("name", "publish", "mini", dataset.uri, "--to", "http://127.0.0.1:9", "--ttl", "3d").failed(
        2, "config", "TTL"
    )
    failed("name", "publish", "mini", dataset.uri, "--to", "http://127.0.0.1:9").failed(3, "unavailable", "--first")
    failed("name", "publish", "mini", dataset.uri, "--to", "http://127.0.0.1:9", "--first").failed(
        3, "unavailable", "no place"
    )
    failed("name", "resolve", "nobody", "--from", "http://127.0.0.1:9").failed(2, "config", "not a name")
    failed("name", "resolve", name).failed(2, "config", "--from")
    failed("pin", "add", f"ipns://{name}").failed(2, "config", "name resolve")
    failed("get", "ipns://nonsense", tmp_path / "x", "--from", "http://127.0.0.1:9").failed(2, "config", "not a name")
    failed("name", "watch", "mini", "--to", "ftp://x").failed(2, "config")


def test_keys_travel_in_files_that_only_the_owner_reads(command: Command, env: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    made = command("key", "gen", "one", "--passphrase-file", secret, "--json", **env).json()
    assert made["encrypted"] is True
    command("key", "export", "one", "-o", tmp_path / "a", "--json", **env).failed(2, "config", "--passphrase-file")
    export = ("key", "export", "one", "--passphrase-file", secret)
    command(*export, "-o", tmp_path / "x", "--format", "libp2p", "--json", **env).failed(2, "config", "--no-passphrase")
    for form, bare in (("pem", False), ("pem", True), ("libp2p", True)):
        path = tmp_path / f"{form}-{bare}"
        done = command(*export, "-o", path, "--format", form, *(["--no-passphrase"] if bare else []), "--json", **env)
        assert done.json()["encrypted"] is not bare
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "correct horse" not in done.out + done.err
        opened = [] if bare else ["--passphrase-file", secret]
        taken = command("key", "import", f"from-{form}-{bare}", path, *opened, "--json", **env).json()
        assert (taken["name"], taken["encrypted"]) == (made["name"], not bare)
    again = command("key", "export", "one", "-o", tmp_path / "pem-True", "--passphrase-file", secret, "--json", **env)
    again.failed(2, "config", "cannot be written")
    secret.write_text("wrong\n")
    command("key", "export", "one", "-o", tmp_path / "b", "--passphrase-file", secret, "--json", **env).failed(
        2, "config", "passphrase is wrong"
    )
    for path in (Path(env["HOLDFAST_REPO"]) / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_watch_signs_until_it_is_stopped(
    command: Command, dataset: Dataset, node: RunningNode, env: dict[str, str], tmp_path: Path
) -> None:
    command("key", "gen", "mini", **env)
    command("name", "publish", "mini", dataset.root, "--to", node.url, **env)
    watching = subprocess.Popen(
        [*HOLDFAST, "name", "watch", "mini", "--to", node.url, "--lifetime", "1s", "--ttl", "1s", "--json"],
        env=environment(tmp_path, **env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        ends = [json.loads(watching.stdout.readline())["ends"] for _ in range(3)]
        assert ends == sorted(set(ends))
        watching.terminate()
        out, err = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert watching.returncode == 130
    assert "Traceback" not in out + err


def test_a_loader_reads_by_name(command: Command, dataset: Dataset, node: RunningNode, env: dict[str, str]) -> None:
    pytest.importorskip("torch")
    import holdfast
    from support.mirror_server import MirrorServer

    name = command("key", "gen", "mini", "--json", **env).json()["name"]
    command("name", "publish", "mini", dataset.root, "--to", node.url, **env)
    cache = Path(env["XDG_DATA_HOME"]) / "cache"
    with MirrorServer(dataset.mirror) as mirror:
        sources = [node.url, mirror.url]
        by_name = holdfast.StreamingDataset(f"ipns://{name}", sources=sources, cache=cache)
        by_root = holdfast.StreamingDataset(dataset.uri, sources=sources, cache=cache)
        assert str(by_name.uri.root) == dataset.root
        assert [sample["__index__"] for sample in by_name] == [sample["__index__"] for sample in by_root]
        by_name.close()
        by_root.close()
