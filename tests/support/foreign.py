"""The vectors of tests/vectors/unixfs: trees that other programs made, as CAR files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from holdfast.storage.cid import CID

FOLDER = Path(__file__).parents[1] / "vectors" / "unixfs"
_DOCUMENT = json.loads((FOLDER / "vectors.json").read_text())


@dataclass(frozen=True)
class Vector:
    """One CAR: its path, its root, the files in it (length and sha256) and the targets of its symlinks."""

    car: Path
    root: CID
    files: dict[str, tuple[int, str]]
    links: dict[str, str]


def digests(files: dict[str, bytes]) -> dict[str, tuple[int, str]]:
    return {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}


def files_in(folder: Path) -> dict[str, tuple[int, str]]:
    """What a `get` put into `folder`."""
    names = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return digests({name: path.read_bytes() for name, path in names.items() if not name.startswith(".holdfast/")})


def _vector(item: dict[str, str]) -> Vector:
    tree = _DOCUMENT["trees"][item["tree"]]
    files = {name: (about["bytes"], about["sha256"]) for name, about in tree["files"].items()}
    return Vector(FOLDER / item["car"], CID.parse(item["root"]), files, tree["links"])


VECTORS = {item["car"].removesuffix(".car"): _vector(item) for item in _DOCUMENT["vectors"]}
