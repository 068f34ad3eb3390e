"""What an attack left on disk: which files, and that no byte of them is a wrong one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from holdfast.storage.cid import CID

from .trees import LEAF


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, symlinks not followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def check_copy(dest: Path, reference: Mapping[str, bytes], *, complete: bool) -> None:
    """A destination of `get`: files of the dataset whole and right, nodes that are what they are called, and what is
    unfinished: verified leaves between holes, and marks. Nothing else.
    """
    found = files_of(dest)
    assert not [path for path in dest.rglob("*") if path.is_symlink()]
    partial = {name: found.pop(name) for name in list(found) if name.startswith(".holdfast/partial/")}
    for name, data in {name: found.pop(name) for name in list(found) if name.startswith(".holdfast/blocks/")}.items():
        assert CID.parse(Path(name).name).matches(data), f"{name} is not what it is called"
    assert {name: data for name, data in found.items() if reference.get(name) != data} == {}
    if complete:
        assert set(found) == set(reference)
        assert partial == {}
    known = {bytes(data[at : at + LEAF]) for data in reference.values() for at in range(0, len(data), LEAF)}
    for name, data in partial.items():
        if not name.endswith(".marks"):
            leaves = (data[at : at + LEAF] for at in range(0, len(data), LEAF))
            assert all(leaf in known or not any(leaf) for leaf in leaves), f"an unverified byte in {name}"


def evidence_of(cache: Path) -> list[dict[str, object]]:
    """The records of wrong answers. Each has its bytes beside it, and they hash to what it says."""
    records = []
    for path in sorted(cache.rglob("evidence/*.json")):
        record = json.loads(path.read_text())
        cid = CID.parse(record["hashes_to"])
        assert cid.matches(path.with_suffix(".bin").read_bytes())
        assert record["cid"] != record["hashes_to"]
        records.append(record)
    return records
