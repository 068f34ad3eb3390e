"""Folders that cannot be published: one sentence each, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.pipeline.publish import publish
from holdfast.pipeline.result import PublishResult
from holdfast.storage.errors import ConfigError, StoreError
from support.sources import jsonl, parquet, texts, tokens, wds, write

LEAF = 16 << 10


def put(source: Path, **options: object) -> PublishResult:
    options = {"name": "set", "repo": source.parent / "repo", "leaf_size": LEAF} | options
    return publish(source, **options)  # type: ignore[arg-type]


def gzip_cut(folder: Path) -> Path:
    path = jsonl(folder, 500, ".gz") / "rows.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-40])
    return folder


def zst_cut(folder: Path) -> Path:
    path = jsonl(folder, 500, ".zst") / "rows.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-1])
    return folder


BAD: dict[str, tuple[Callable[[Path], object], dict[str, object], str]] = {
    "no such folder": (lambda folder: None, {}, "does not exist"),
    "a file": (lambda folder: folder.write_bytes(b"x"), {}, "is not a folder"),
    "an empty folder": (lambda folder: folder.mkdir(), {}, "no file"),
    "only hidden files": (lambda folder: write(folder, {".a": b"x"}), {}, "no file"),
    "only archives": (lambda folder: write(folder, {"a.tar.gz": b"x"}), {}, r"a\.tar\.gz"),
    "only binaries": (lambda folder: write(folder, {"a.so": b"\xff"}), {}, "neither a shard"),
    "only bytes": (lambda folder: write(folder, {"a.dat": b"\xff"}), {}, "UTF-8"),
    "bins without a format": (tokens, {}, "any width"),
    "tokens without a dtype": (tokens, {"format": "tokens"}, "never guessed"),
    "a dtype without tokens": (parquet, {"dtype": "uint16"}, "dtype"),
    "half a token": (lambda f: write(f, {"a.bin": b"123"}), {"format": "tokens", "dtype": "uint16"}, r"a\.bin has 3"),
    "a numpy file as tokens": (
        lambda folder: write(folder, {"a.npy": b"\x93NUMPY\1\0v\0" + bytes(118)}),
        {"format": "tokens", "dtype": "uint16"},
        r"a\.npy is a NumPy file",
    ),
    "a broken tar": (lambda folder: write(folder, {"a.tar": b"x" * 2048}), {}, r"a\.tar is not a whole tar"),
    "a tar cut short": (
        lambda folder: (wds(folder) / "s-000.tar").write_bytes((folder / "s-001.tar").read_bytes()[:3000]),
        {},
        r"s-000\.tar is not a whole tar",
    ),
    "a tar without samples": (lambda folder: write(folder, {"a.tar": bytes(10240)}), {}, "holds no sample"),
    "a broken parquet": (lambda folder: write(folder, {"a.parquet": b"PAR1xxxxPAR1"}), {}, r"a\.parquet is not"),
    "broken gzip": (gzip_cut, {}, r"rows\.jsonl\.gz cannot be read"),
    "zstd cut short": (zst_cut, {}, r"rows\.jsonl\.zst cannot be read"),
    "a small leaf": (parquet, {"leaf_size": 1024}, "leaf size"),
    "an odd leaf": (parquet, {"leaf_size": 20_000}, "leaf size"),
    "no workers": (parquet, {"workers": 0}, "workers"),
    "no name": (parquet, {"name": ""}, "name"),
    "an unknown format": (parquet, {"format": "zip"}, "format"),
    "wrong format": (lambda folder: write(folder, {"a.jsonl": b"{}"}), {"format": "tokens", "dtype": "uint16"}, "none"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path: Path, bad: str) -> None:
    make, options, message = BAD[bad]
    make(tmp_path / "src")
    with pytest.raises(ConfigError, match=message) as caught:
        put(tmp_path / "src", **options)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    files = tmp_path / "repo" / "files"
    assert not files.exists() or not list(files.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission_are_named(tmp_path: Path) -> None:
    source = texts(tmp_path / "src")
    (source / "pkg1").chmod(0)
    (source / "pkg0" / "mod_0.py").chmod(0)
    try:
        skipped = dict(put(source).skipped)
    finally:
        (source / "pkg1").chmod(0o755)
    assert "denied" in skipped["pkg0/mod_0.py"]
    assert "denied" in skipped["pkg1"]


def test_a_repository_inside_its_source_is_refused(tmp_path: Path) -> None:
    source = parquet(tmp_path / "src")
    with pytest.raises(ConfigError, match="lie in one another"):
        put(source, repo=source / "repo")
    assert not (source / "repo").exists()


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "repo", {"precious": b"x"})
    with pytest.raises(ConfigError, match="not a repository"):
        put(parquet(tmp_path / "src"))


def test_a_repository_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "repo").write_bytes(b"a file")
    with pytest.raises((StoreError, ConfigError), match="repo"):
        put(parquet(tmp_path / "src"))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: writes fail in the middle of a shard."""
    source = write(tmp_path / "src", {"a.ppm": bytes(10**6)})
    put(parquet(tmp_path / "first"))  # the repository itself exists
    code = (
        "import resource, sys\n"
        "from holdfast.pipeline.publish import publish\n"
        "from holdfast.storage.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try:\n    publish(sys.argv[1], name='set', repo=sys.argv[2])\n"
        "except StoreError as error:\n    print(error.message)\n"
    )
    held = sorted((tmp_path / "repo" / "files").iterdir())
    run_ = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path / "repo")], capture_output=True, text=True, check=True
    )
    assert "cannot be used" in run_.stdout
    assert sorted((tmp_path / "repo" / "files").iterdir()) == held
