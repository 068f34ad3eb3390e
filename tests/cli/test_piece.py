"""`piece cid` as a script uses it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from .conftest import HOLDFAST, Done, environment

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


def test_what_cannot_be_read(command: Command, tmp_path: Path) -> None:
    for path, why in (("nope", "No such file"), (".", "Is a directory")):
        done = command("piece", "cid", path)
        assert (done.code, why in done.err, "check the path" in done.err) == (2, True, True)
