"""The command line against silence, foreign copies and links in its way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.conftest import Dataset, Done, environment

from support.mirror_server import MirrorServer, Reply
from support.trees import mirror_folder

Command = Callable[..., Done]


def test_a_deadline_holds_against_a_server_that_never_shakes_hands(
    dataset: Dataset, command: Command, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        done = command("get", dataset.uri, tmp_path / "copy", "--from", url, "--deadline", "1s", "--json")
        took_s = time.monotonic() - started
    done.failed(3, "unavailable", url)
    assert took_s < 6


def test_a_password_in_an_address_is_refused_and_never_printed(
    dataset: Dataset, command: Command, tmp_path: Path
) -> None:
    for url in ("http://bob:hunter2@127.0.0.1:9", "https://hunter2@[::1"):
        done = command("get", dataset.uri, tmp_path / "copy", "--from", url, "--json")
        done.failed(2, "config", "token_env", "headers_env")
        assert "hunter2" not in done.out + done.err


def test_a_password_in_a_redirect_is_never_printed(dataset: Dataset, command: Command, tmp_path: Path) -> None:
    to = lambda _, reply: Reply(302, {"Location": "http://bob:hunter2@127.0.0.1:9/x"}, b"")
    with MirrorServer(tmp_path / "none", to) as server:
        done = command("get", dataset.uri, tmp_path / "copy", "--from", server.url, "--deadline", "0.3s", "--json")
    done.failed(3, "unavailable", "redirected")
    assert "hunter2" not in done.out + done.err


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_get_over_the_copy_of_another_dataset_is_refused_and_changes_nothing(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    other = mirror_folder(tmp_path / "other", {"data/x": b"other" * 9000, "y": b"y"})
    with MirrorServer(tmp_path / "other") as second:
        assert command("get", other, tmp_path / "copy", "--from", second.url).code == 0
        before = _files(tmp_path / "copy")
        for uri in (dataset.uri, f"{dataset.uri}/manifest", f"{dataset.uri}/data"):
            done = command("get", uri, tmp_path / "copy", "--from", server.url, "--json")
            done.failed(2, "config", str(tmp_path / "copy"), "new or an empty folder")
            assert _files(tmp_path / "copy") == before
        assert [path.name for path in (tmp_path / "copy/.holdfast").iterdir()] == ["blocks"]
        assert command("get", other, tmp_path / "copy", "--from", second.url).code == 0, "its own is welcome"
        assert command("verify", tmp_path / "copy").code == 0


def test_get_goes_on_with_a_folder_below_a_root(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    for _ in range(2):
        assert command("get", f"{dataset.uri}/data", tmp_path / "copy", "--from", server.url).code == 0
    assert command("verify", tmp_path / "copy").code == 0


def test_verify_names_what_the_root_does_not_list(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    assert command("get", dataset.uri, copy, "--from", server.url).code == 0
    assert command("verify", copy).code == 0
    (copy / "data/extra.bin").write_bytes(b"x")
    (copy / "deep/er").mkdir(parents=True)
    (copy / "deep/er/y").write_bytes(b"y")
    (copy / "link").symlink_to("/etc")
    with open(os.fsencode(copy) + b"/\xff", "wb"):
        pass
    done = command("verify", copy, "--json")
    assert done.code == 1, done
    found = done.json()
    assert found["ok"] is False
    assert {finding["path"]: finding["problem"] for finding in found["findings"]} == dict.fromkeys(
        ["data/extra.bin", "deep/er/y", "link", "\ufffd"], "is not part of the dataset"
    )
    words = command("verify", copy)
    assert words.code == 1
    assert "data/extra.bin: is not part of the dataset" in words.out


def test_verify_names_no_files_of_a_folder_whose_node_is_lost(
    dataset: Dataset, command: Command, server: MirrorServer, tmp_path: Path
) -> None:
    assert command("get", dataset.uri, tmp_path / "copy", "--from", server.url).code == 0
    listed = command("ls", dataset.uri, "--from", server.url, "--json").json()["entries"]
    (cid,) = [entry["cid"] for entry in listed if entry["name"] == "data"]
    (tmp_path / "copy/.holdfast/blocks" / cid).unlink()
    done = command("verify", tmp_path / "copy", "--root", dataset.root, "--json")
    assert done.code == 1
    assert [finding["path"] for finding in done.json()["findings"]] == ["data"]


def test_a_copy_of_one_file_is_verified(dataset: Dataset, command: Command, tmp_path: Path) -> None:
    data = b"0123456789abcdef" * 4096
    (tmp_path / "one").write_bytes(data)
    cid = command("cid", tmp_path / "one", "--leaf-size", "16KiB").out.split()[0]
    (tmp_path / "src").mkdir()
    root = mirror_folder(tmp_path / "src", {"x": data})
    with MirrorServer(tmp_path / "src") as server:
        done = command("get", f"{root}/x", tmp_path / "copy", "--from", server.url, "--json")
        assert done.code == 0, done
    done = command("verify", tmp_path / "copy", "--json")
    assert done.code == 0, done
    assert done.json()["root"] == cid


BROKEN = """
import sys
from holdfast.cli import app
def broken(json: bool = False): raise ZeroDivisionError("on purpose")
app.app.command("broken")(broken)
sys.argv = ["holdfast", "broken", "--json"]
app.main()
"""


@pytest.mark.parametrize("kept", [False, True])
def test_the_log_of_a_bug_has_a_name_that_nobody_can_guess(tmp_path: Path, kept: bool) -> None:
    prepare = (
        "import os\n"
        f"link = os.path.join({str(tmp_path)!r}, f'holdfast-{{os.getpid()}}.log')\n"
        f"os.symlink({str(tmp_path / 'victim')!r}, link)\n"
    )
    (tmp_path / "victim").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-c", (prepare if kept else "") + BROKEN], env=environment(tmp_path, TMPDIR=str(tmp_path)),
        capture_output=True, text=True,
    )  # fmt: skip
    found = Done(done.returncode, done.stdout, done.stderr).failed(70, "bug")
    log = Path(json.loads(found.out)["error"]["hint"].rpartition(" ")[2])
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert (tmp_path / "victim").read_text() == "mine"
