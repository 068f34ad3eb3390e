"""What starting costs: `import holdfast` and `--help` load none of the big libraries. Times are printed, not judged."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.conftest import environment

BIG = {"torch", "pyarrow", "pandas", "aiohttp", "webdataset", "matplotlib", "numpy", "zstandard", "typer", "rich"}
AT_END = "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
HELP = AT_END + "sys.argv = ['holdfast', '--help']\nfrom holdfast.cli.app import main\nmain()"


def _loaded(code: str, home: Path) -> set[str]:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"{(time.monotonic() - started) * 1000:.0f} ms: {code.splitlines()[-1]}")
    return {name.partition(".")[0] for name in json.loads(done.stderr)}


def test_import_holdfast_loads_none_of_the_big_libraries(tmp_path: Path) -> None:
    loaded = _loaded(AT_END + "import holdfast", tmp_path)
    assert "holdfast" in loaded
    assert not loaded & (BIG | {"pydantic"})


def test_help_loads_neither_torch_nor_pyarrow_nor_aiohttp(tmp_path: Path) -> None:
    assert not _loaded(HELP, tmp_path) & (BIG - {"typer", "rich"})


@pytest.mark.parametrize("name", ["get", "publish"])
def test_the_verbs_load_no_torch(tmp_path: Path, name: str) -> None:
    assert "torch" not in _loaded(AT_END + f"import holdfast\nholdfast.{name}", tmp_path)
