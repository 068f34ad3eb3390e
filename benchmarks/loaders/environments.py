"""The peers' environments: one virtual environment each, pinned, under `build/peers/`; torch is that of `.venv`."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("webdataset", "mosaic", "litdata", "datasets")
PACKAGES = {
    "webdataset": "webdataset",
    "mosaic": "mosaicml-streaming",
    "litdata": "litdata",
    "datasets": "datasets",
}
_FOLDER = ROOT / "build" / "peers"
_PINS = Path(__file__).parent / "peers"


def python_of(peer: str) -> Path:
    """The interpreter that runs a peer; "ours": this one."""
    return Path(sys.executable) if peer == "ours" else _FOLDER / peer / "bin" / "python"


def prepare(peers: Iterable[str]) -> None:
    """Make the environments that are not there yet, or whose pins have changed since."""
    for peer in peers:
        pins, stamp = _PINS / f"{peer}.txt", _FOLDER / peer / "pins.txt"
        if stamp.exists() and stamp.read_text() == pins.read_text():
            continue
        venv.create(_FOLDER / peer, with_pip=True, clear=True)
        _see_torch(_FOLDER / peer)
        python = str(python_of(peer))
        # no dependencies: torch among them would be gigabytes of CUDA for each peer, in another version for each
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins)], check=True)
        stamp.write_text(pins.read_text())


def child_environment(home: Path) -> dict[str, str]:
    """For every process of a peer: no network beyond this machine, one thread; what it leaves behind goes to `home`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ALLOW_HTTP": "true",
        "HOME": str(home),
        "TMPDIR": str(home),
        "HF_HOME": str(home / "hf"),
        "DATA_OPTIMIZER_CACHE_FOLDER": str(home / "chunks"),
        "DATA_OPTIMIZER_DATA_CACHE_FOLDER": str(home / "data"),
        "HF_HUB_OFFLINE": "1",
        "LITDATA_DISABLE_VERSION_CHECK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _see_torch(folder: Path) -> None:
    """Behind the peer's own packages come those of `.venv`: its torch, and what its torch needs."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "lib" / version / "site-packages" / "torch.pth").write_text(sysconfig.get_path("purelib") + "\n")


def versions() -> dict[str, str]:
    """Of the peers, as their environments say."""
    found: dict[str, str] = {}
    for peer, package in PACKAGES.items():
        for about in distributions(
            name=package, path=[str(path) for path in _FOLDER.glob(f"{peer}/lib/*/site-packages")]
        ):
            found[package] = about.version
    return found
