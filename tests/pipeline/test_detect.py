"""Which kind a folder is, from names and sizes alone."""

from __future__ import annotations

import pytest

from holdfast.pipeline.detect import Detected, SourceFile, detect
from holdfast.pipeline.options import Format
from holdfast.storage.errors import ConfigError


def folder(names: str, format_: Format = "auto") -> Detected:
    """A folder of "name:size" words."""
    files = [SourceFile(word.partition(":")[0], int(word.partition(":")[2] or 10)) for word in names.split()]
    return detect(files, format_)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("a.tar b.tar", "tar"),
        ("a.parquet b/c.parquet", "parquet"),
        ("1.jpg 1.cls 2.jpg 2.cls", "loose"),
        ("1.flac 1.txt", "loose"),
        ("a.jsonl b.jsonl.gz c.jsonl.zst", "jsonl"),
        ("a.csv", "csv"),
        ("a.py b.md LICENSE", "text"),
        ("a.txt b.txt c.json", "text"),
        ("a.py:1000 icon.png:10 x.txt:10", "text"),
        ("1.jpg:1000 model.pth:999999", "loose"),
        ("a.tar:1000 notes.md:10", "tar"),
        ("a.tar:10 notes.md:1000", "text"),
    ],
)
def test_the_kind_with_most_bytes_wins(names: str, kind: str) -> None:
    assert folder(names).kind == kind


def test_every_file_is_taken_or_named() -> None:
    names = "1.jpg 1.cls 2.jpg x.pth lonely.txt noext old.tar.gz a.tar"
    found = folder(names.replace("1.jpg", "1.jpg:9999"))
    assert [file.name for file in found.files] == ["1.cls", "1.jpg", "2.jpg"]
    assert {file.name for file in found.files} | {name for name, _ in found.left_out} == set(names.split())


def test_members_of_a_sample_follow_each_other_even_around_folders() -> None:
    found = folder("a/1.cls a/1.d/x.jpg a/1.jpg a/1-b.jpg")
    assert [file.name for file in found.files] == ["a/1.cls", "a/1.jpg", "a/1-b.jpg", "a/1.d/x.jpg"]


def test_formats_that_are_asked_for_are_kept() -> None:
    assert folder("a.bin b.bin", "tokens").kind == "tokens"
    assert folder("1.dat 1.meta", "tar").kind == "loose"
    assert folder("a.jpg a.md", "parquet").kind == "text"
    with pytest.raises(ConfigError, match="--format tokens"):
        folder("a.txt", "tokens")
    with pytest.raises(ConfigError, match="any width") as caught:
        folder("a.bin")
    assert "--dtype" in caught.value.hint
