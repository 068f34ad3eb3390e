"""A changed folder published again: the shards that were not touched are the same, and are not packed again."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.pipeline.pack import packer, parquet, tar
from holdfast.pipeline.publish import publish
from holdfast.pipeline.result import PublishResult
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.errors import ConfigError, FileChangedError
from support.sources import manifest_of, tree_of

KIB = 1 << 10
OPTIONS: dict[str, Any] = {"name": "d", "leaf_size": 16 * KIB, "shard_size": 80 * KIB}
FILES, FILE_BYTES = 60, 8 * KIB
SUFFIX = {"loose": "jpg", "jsonl": "jsonl", "csv": "csv", "text": "py"}


def put(folder: Path, kind: str, name: str, seed: int) -> None:
    """One file of random content."""
    data = random.Random(seed).randbytes(FILE_BYTES // 2).hex()
    rows = [data[at : at + 128] for at in range(0, len(data), 128)]
    if kind == "jsonl":
        data = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    elif kind == "csv":
        data = "text,more\n" + "".join(f"{row},x\n" for row in rows)
    (folder / f"{name}.{SUFFIX[kind]}").write_text(data)


class Folder:
    """A dataset that changes. `packed`: the shards that the last publish wrote."""

    def __init__(self, place: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.kind, self.source = place, kind, place / "src"
        self.source.mkdir()
        for number in range(FILES):
            put(self.source, kind, f"s{number:03d}", number)
        self.packed = 0
        real_tar, real_rows = tar.write_tar, parquet.ShardWriter.finish
        monkeypatch.setattr(tar, "write_tar", lambda *given: self._count(real_tar(*given)))
        monkeypatch.setattr(parquet.ShardWriter, "finish", lambda writer: self._count(real_rows(writer)))

    def _count(self, made: Any) -> Any:
        self.packed += 1
        return made

    def publish(self, repo: str = "repo") -> tuple[PublishResult, list[str]]:
        """The result, and the CIDs of the shards."""
        time.sleep(0.03)  # older than a tick: a change would show in their stamps
        self.packed = 0
        result = publish(self.source, repo=self.place / repo, **OPTIONS)
        with DiskStore(self.place / repo).open(create=False) as store:
            _, shards = manifest_of(tree_of(store, result.root))
        return result, [shard.cid for shard in shards]


@pytest.fixture(params=SUFFIX)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path, request.param, monkeypatch)


@pytest.mark.parametrize("how", ["append", "insert", "delete", "edit", "before all"])
def test_an_edit_leaves_all_other_shards_as_they_are(folder: Folder, how: str) -> None:
    first, before = folder.publish()
    assert folder.packed == len(before) > 10
    changed = folder.source / f"s030.{SUFFIX[folder.kind]}"
    match how:
        case "append":
            put(folder.source, folder.kind, "t", 1000)
        case "insert":
            put(folder.source, folder.kind, "s030a", 1000)
        case "before all":
            put(folder.source, folder.kind, "a", 1000)
        case "edit":
            put(folder.source, folder.kind, "s030", 1000)
        case _:
            changed.unlink()
    second, after = folder.publish()
    new = [cid for cid in after if cid not in before]
    assert second.root != first.root
    assert len(new) <= 3, "the file is as long as a shard's shortest: two of them and one more"
    assert folder.packed <= 4
    assert second.new_bytes <= 3 * OPTIONS["shard_size"]
    assert len(set(before) - set(after)) <= 3
    fresh, _ = folder.publish("fresh")
    assert fresh.root == second.root, "the root depends on the folder alone, not on how it became so"


def test_a_column_that_takes_other_values_now_is_packed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, "jsonl", monkeypatch)
    first, before = folder.publish()
    (folder.source / "t.jsonl").write_text('{"text": 5}\n')  # texts are spelled as JSON from now on: the same type
    second, after = folder.publish()
    assert not set(after) & set(before)
    fresh, _ = folder.publish("fresh")
    assert fresh.root == second.root != first.root


def test_rows_in_one_large_file_keep_the_shards_behind_an_insertion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, "jsonl", monkeypatch)
    lines = [line for path in sorted(folder.source.iterdir()) for line in path.read_text().splitlines(keepends=True)]
    for path in folder.source.iterdir():
        path.unlink()
    (folder.source / "all.jsonl").write_text("".join(lines))
    _, before = folder.publish()
    (folder.source / "all.jsonl").write_text("".join([*lines[:1000], '{"text": "new"}\n', *lines[1000:]]))
    second, after = folder.publish()
    assert folder.packed == len(after), "a changed file is read, and packed, from its start"
    assert len(set(after) - set(before)) <= 2
    assert second.new_bytes <= 2 * OPTIONS["shard_size"]


def test_shards_between_known_ones_are_written_in_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path, "jsonl", monkeypatch)
    first, before = folder.publish()
    with DiskStore(tmp_path / "repo").open() as store:
        gone = [row for number, cid in enumerate(before) if number % 3 == 1 for row in _files(store, cid)]
        for path in gone:
            path.unlink()
    again, after = folder.publish()
    assert (again.root, after) == (first.root, before)
    assert folder.packed == len(gone) > 3


def _files(store: DiskStore, cid: str) -> list[Path]:
    return [row.path for row in store.catalog.files_of(CID.parse(cid))]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "text"])
@pytest.mark.parametrize(
    ("victim", "how"),
    [("s000", "grows"), ("s000", "shrinks"), ("s030", "changes"), ("s059", "grows"), ("s030", "goes")],
)
def test_a_source_that_changes_between_its_two_readings_is_named_and_leaves_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, victim: str, how: str
) -> None:
    folder = Folder(tmp_path, kind, monkeypatch)
    path = folder.source / f"{victim}.{SUFFIX[kind]}"
    text = path.read_text()
    rows = text.splitlines(keepends=True)
    now = {"grows": text + rows[-1], "shrinks": "".join(rows[:-1]), "changes": text.replace("a", "b", 1), "goes": None}[
        how
    ]
    real = packer.survey

    def change(*given: Any) -> None:
        real(*given)
        if now is None:
            path.unlink()
        else:
            path.write_text(now)

    with monkeypatch.context() as patch:
        patch.setattr(packer, "survey", change)
        with pytest.raises((FileChangedError, ConfigError), match=f"{victim}.* (changed while|cannot be read)"):
            folder.publish()
    path.write_text(text)
    again, _ = folder.publish()
    fresh, _ = folder.publish("fresh")
    assert again.root == fresh.root, "what was packed before it was noticed is right"
