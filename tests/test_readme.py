"""The README is run: what a stranger copies out of it works."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"^<!-- (run|serve|save: (\S+)) -->\n```(?:sh|python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"\b43\d\d\b")
_PATH = re.compile(r"`((?:benchmarks|configs|docs|holdfast/(?:cli|demo)|loaders|pipeline|storage|tests)/[\w./-]*)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")

# What is marked `serve` runs in the background; the next block starts when it has said where it listens.
_SERVE = """
( exec {command} ) > serve-{number}.txt &
for _ in $(seq 200); do if test -s serve-{number}.txt; then break; fi; sleep 0.05; done
test -s serve-{number}.txt
"""


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def _script(folder: Path) -> str:
    """All marked blocks as one shell script; files that blocks are saved as are written into `folder`."""
    text = README.read_text()
    lines = ["set -eu", "trap 'kill $(jobs -p)' EXIT"]
    for port in sorted(set(_PORT.findall(text))):
        text = text.replace(port, _free_port())
    for number, (mark, name, body) in enumerate(_BLOCK.findall(text)):
        if name:
            (folder / name).write_text(body)
        elif mark == "serve":
            lines.append(_SERVE.format(command=body.strip(), number=number))
        else:
            lines.append(body)
    return "\n".join(lines)


@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
def test_what_the_readme_says_works(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for source in sorted((ROOT / "docs").rglob("*.md")) + [README]:
        shutil.copy(source, corpus / source.name)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
    }
    process = subprocess.Popen(
        ["bash", "-c", _script(tmp_path)], cwd=tmp_path, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output = tmp_path / "output.txt"
    try:
        said, _ = process.communicate(timeout=110)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    output.write_text(said)
    assert process.returncode == 0, said
    assert re.search(r"^ipfs://bafy", said, re.MULTILINE)
    losses = [float(loss) for loss in re.findall(r"^epoch \d: loss ([0-9.]+)$", said, re.MULTILINE)]
    assert len(losses) == 6, said
    assert losses[:3] == losses[3:], "from one source or two, warm or cold: the same batches, the same losses"
    assert '"format":"holdfast-dataset"' in said
    assert (tmp_path / "copy" / "README.md").is_file()


def test_the_example_is_as_short_as_promised() -> None:
    (body,) = [body for _, name, body in _BLOCK.findall(README.read_text()) if name == "train.py"]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 20


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_and_paths_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    missing = [target for target in _LINK.findall(text) if not (document.parent / target).exists()]
    missing += [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    assert not missing
