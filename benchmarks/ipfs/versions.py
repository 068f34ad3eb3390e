"""A new version of a packed dataset: how much of it has to be sent again after an append, an edit, scattered edits."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID
from holdfast.storage.dataset import Dataset
from holdfast.storage.diff import diff
from holdfast.storage.manifest import Shard
from holdfast.storage.session import Session
from holdfast.storage.sources.local import Local
from holdfast.storage.uri import DatasetUri

from ..goal import Goal
from .setting import Setting

# 600 shards of 8 samples: with 64 MiB, the default, these are datasets of 16 GB
_SHARD_BYTES = {"files": 2 << 20, "rows": 200 << 10}
_SAMPLES, _SAMPLE_BYTES = 5_000, {"files": 100_000, "rows": 10_000}


def goals(setting: Setting) -> list[Goal]:
    """Bytes are those of all leaves that are new: of shards, indices, manifest pages and the other small files."""
    found = []
    for kind in _WRITE:
        append = Goal(f"{kind}, 1 % appended: bytes to send / bytes of all", 0.03, at_least=False)
        edit = Goal(f"{kind}, 1 % changed in one place: new shards beyond those it falls in", 1.0, at_least=False)
        touched: list[float] = []
        for number in range(setting.rounds):
            version = _Version(setting, kind, number)
            try:
                append.runs.append(version.append())
                edit.runs.append(version.edit())
                touched.append(version.scattered())
            finally:
                version.close()
            setting.say(
                f"versions {number}, {kind}: {version.shards} shards; appended {append.runs[-1]:.4f}, edited "
                f"{edit.runs[-1]:+.0f} shards, scattered {touched[-1]:.2f} of all shards"
            )
        edit.detail = f"1 % changed all over: {min(touched):.0%} to {max(touched):.0%} of all shards are new"
        found += [append, edit]
    return found


class _Version:
    """A dataset that is published again and again; each edit is of the first version."""

    def __init__(self, setting: Setting, kind: str, seed: int) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=setting.work))
        self._kind, self._numbers = kind, random.Random(seed)
        self._samples = [self._sample() for _ in range(_SAMPLES)]
        self._some = _SAMPLES // 100
        self._root, self._before = self._publish(self._samples)
        self.shards = len(self._before)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self._folder)

    def append(self) -> float:
        """Bytes to send over the bytes of all."""
        root, after = self._publish([*self._samples, *(self._sample() for _ in range(self._some))])
        with (
            DiskStore(self._folder / "repo").open(create=False) as store,
            _session(store, self._root) as old,
            _session(store, root) as new,
        ):
            return diff(old.tree, new.tree).new_bytes / sum(shard.bytes for shard in after)

    def edit(self) -> float:
        """New shards, less those that the edit falls in: of the old ones or of the new, whichever are more."""
        at = self._numbers.randrange(1, _SAMPLES - self._some)
        edited = [*self._samples]
        edited[at : at + self._some] = [self._sample() for _ in range(self._some)]
        _, after = self._publish(edited)
        own = max(_hit(shards, at, at + self._some) for shards in (self._before, after))
        return len(self._new(after)) - own

    def scattered(self) -> float:
        """The part of all shards that is new."""
        edited = [*self._samples]
        for at in self._numbers.sample(range(_SAMPLES), self._some):
            edited[at] = self._sample()
        _, after = self._publish(edited)
        return len(self._new(after)) / len(after)

    def _sample(self) -> bytes:
        return self._numbers.randbytes(_SAMPLE_BYTES[self._kind] // 2)

    def _publish(self, samples: Sequence[bytes]) -> tuple[CID, list[Shard]]:
        source = self._folder / "source"
        _WRITE[self._kind](source, samples)
        result = publish(source, name="v", repo=self._folder / "repo", shard_size=_SHARD_BYTES[self._kind])
        shutil.rmtree(source)
        with DiskStore(self._folder / "repo").open(create=False) as store, _session(store, result.root) as session:
            return result.root, list(Dataset(session.tree).open().shards())

    def _new(self, after: Sequence[Shard]) -> list[Shard]:
        known = {shard.cid for shard in self._before}
        return [shard for shard in after if shard.cid not in known]


def _session(store: DiskStore, root: CID) -> Session:
    return Session(DatasetUri(root), [Local(store)])


def _hit(shards: Sequence[Shard], start: int, end: int) -> int:
    return sum(shard.first_sample < end and shard.first_sample + shard.samples > start for shard in shards)


def _files(folder: Path, samples: Sequence[bytes]) -> None:
    folder.mkdir()
    for number, data in enumerate(samples):
        (folder / f"{number:06d}.jpg").write_bytes(data * 2)


def _rows(folder: Path, samples: Sequence[bytes]) -> None:
    folder.mkdir()
    with (folder / "all.jsonl").open("w") as file:
        for data in samples:
            file.write(json.dumps({"text": data.hex()}) + "\n")


_WRITE: dict[str, Callable[[Path, Sequence[bytes]], None]] = {"files": _files, "rows": _rows}
