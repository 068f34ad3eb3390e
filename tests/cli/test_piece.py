"""`piece cid` as a script uses it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.mirror_server import MirrorServer

from .conftest import HOLDFAST, Dataset, Done, environment

QUADS = b"".join(bytes([byte]) * 127 for byte in range(4))
V2 = "bafkzcibcaaces3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi"  # FRC-0069
V1 = "baga6ea4seaqes3nobte6ezpp4wqan2age2s5yxcatzotcvobhgcmv5wi2xh5mbi"

Command = Callable[..., Done]


def test_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "quads").write_bytes(QUADS)
    found = command("piece", "cid", tmp_path / "quads", "--json").json()
    assert found == {"cid": V2, "v1": V1, "bytes": 508, "padded_bytes": 512, "path": str(tmp_path / "quads")}
    words = command("piece", "cid", tmp_path / "quads")
    assert (words.code, words.out.split()[0]) == (0, V2)


def test_a_pipe(tmp_path: Path) -> None:
    done = subprocess.run(
        [*HOLDFAST, "piece", "cid", "-"], input=QUADS, capture_output=True, timeout=60, env=environment(tmp_path)
    )
    assert done.stdout.startswith(V2.encode())


def test_a_pipe_that_does_not_block_is_read_to_its_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with subprocess.Popen(
        [*HOLDFAST, "piece", "cid", "-"], stdin=reading, stdout=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        os.close(reading)
        with open(writing, "wb", buffering=0) as pipe:
            pipe.writelines(bytes([part]) * 127 for part in range(4))
        assert process.communicate(timeout=60)[0].startswith(V2.encode())


def test_no_standard_input_is_the_users_mistake(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", *HOLDFAST, "piece", "cid", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(tmp_path))
    assert (done.returncode, "there is no standard input" in done.stderr) == (2, True)


def test_what_cannot_be_read(command: Command, tmp_path: Path) -> None:
    for path, why in (("nope", "No such file"), (".", "Is a directory")):
        done = command("piece", "cid", path)
        assert (done.code, why in done.err, "check the path" in done.err) == (2, True, True)


def test_a_dataset_becomes_pieces_and_comes_back_out_of_them(
    dataset: Dataset, command: Command, tmp_path: Path
) -> None:
    repo = tmp_path / "repo"  # a copy: what is pinned here, other tests do not count
    shutil.copytree(dataset.repo, repo)
    packed = command("piece", "pack", dataset.uri, "-o", tmp_path / "cars", "--repo", repo, "--json").json()
    made = command(
        "piece", "manifest", dataset.uri, "-o", tmp_path / "manifest", "--repo", dataset.repo, "--json"
    ).json()
    assert (made["root"], made["manifest"], made["pieces"]) == (dataset.root, packed["manifest"], packed["pieces"])
    (tmp_path / "sp/piece").mkdir(parents=True)
    for piece in packed["pieces"]:
        car = tmp_path / "cars" / f"{piece['cid']}.car"
        assert command("piece", "cid", car, "--json").json()["cid"] == piece["cid"]
        car.rename(tmp_path / "sp/piece" / piece["cid"])
    listed = command("ls", f"ipfs://{packed['manifest']}", "--repo", repo, "--json").json()
    assert "blocks.bin" in json.dumps(listed)
    with MirrorServer(tmp_path / "sp") as server:
        roster = tmp_path / "r.toml"
        roster.write_text(
            f'format = 1\n[[provider]]\nname = "sp"\nkind = "filecoin"\nurl = "{server.url}"\npieces = "manifest"\n'
        )
        assert command("get", dataset.uri, tmp_path / "got", "--roster", roster).code == 0
        assert command("audit", dataset.uri, "--roster", roster, "--samples", "5").code == 0, "leaf by leaf, too"
        assert command("key", "gen", "me", "--repo", repo).code == 0
        asked = ("piece", "audit", tmp_path / "manifest", "--repo", repo, "--json")
        signed = ("--report", tmp_path / "report.json", "--key", "me")
        found = command(*asked, "--roster", roster, "--samples", "3", *signed).json()
        assert (found["ok"], found["samples"]) == (True, 3)
        (tmp_path / "sp/piece" / packed["pieces"][0]["cid"]).unlink()
        again = command(*asked, "--from", server.url, "--replay", tmp_path / "report.json")
        assert again.json()["seed"] == found["seed"]
        assert again.code == (0 if again.json()["ok"] else 1)
        for piece in packed["pieces"][1:]:
            (tmp_path / "sp/piece" / piece["cid"]).unlink()
        assert command(*asked, "--from", server.url, "--replay", tmp_path / "report.json").code == 1
    assert command("verify", tmp_path / "got").code == 0


def test_wrong_turns(dataset: Dataset, command: Command, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_bytes(b"x")
    into = command("piece", "manifest", dataset.uri, "-o", tmp_path / "full", "--repo", dataset.repo)
    assert (into.code, "is not an empty folder" in into.err) == (2, True)
    below = command("piece", "pack", f"{dataset.uri}/data", "--repo", dataset.repo)
    assert (below.code, "give its root" in below.err) == (2, True)
    elsewhere = command("piece", "pack", dataset.uri, "--repo", tmp_path / "none")
    assert elsewhere.code == 2
    for words in (("--from", "http://127.0.0.1:9"), (), ("--report", "r", "--from", "http://127.0.0.1:9")):
        assert command("piece", "audit", tmp_path / "full", *words).code == 2
    absent = command("piece", "pack", V2, "--repo", dataset.repo)
    assert absent.code != 0
    assert "Traceback" not in absent.err
