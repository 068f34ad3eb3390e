"""What is served: one corpus in the format of every loader, each written once, in a folder that one nginx serves."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import publish
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get

from . import samples
from .environments import ROOT, child_environment, python_of

# format → the peer that writes it, and the client of that peer
_WRITERS = {
    "wds": ("webdataset", "wds"),
    "mds": ("mosaic", "mds"),
    "lit": ("litdata", "lit"),
    "lit.zstd": ("litdata", "lit"),
    "pq": ("datasets", "hf"),
}
_JSONL_ROWS = 20_000


@dataclass
class Material:
    """One corpus. `uri` is ours; `shards`: files of each format; `bytes`: what an epoch delivers."""

    corpus: str
    samples: int
    served: Path
    uri: str = ""
    shards: dict[str, int] = field(default_factory=dict)
    digest: int | None = None  # of the content: what the first loader delivered, and all others have to

    def folder(self, kind: str) -> str:
        """Where a format lies below the server; WebDataset's images are the tars of our mirror, as they lie."""
        if kind == "wds" and self.corpus == "images":
            return f"ours/{self.corpus}/data"
        bucket, _, rest = kind.partition(".")
        return f"{bucket}/{self.corpus}" + (f".{rest}" if rest else "")


def make(
    corpus: str,
    count: int,
    served: Path,
    work: Path,
    kinds: Collection[str],
    say: Callable[[str], None],
    shard_bytes: int = 0,
) -> Material:
    """Write `count` samples in our format and in `kinds`; temporary files go to `work`."""
    made = Material(corpus, count, served)
    for kind in kinds:
        if kind == "wds" and corpus == "images":
            continue
        say(f"writing {corpus} as {kind} …")
        target = served / made.folder(kind)
        write(kind, corpus, target, count, work, shard_bytes)
        made.shards[kind] = sum(1 for path in target.iterdir() if path.suffix != ".json")
    say(f"publishing {corpus} …")
    made.uri = _ours(made, work, shard_bytes)
    if corpus == "images":
        made.shards["wds"] = sum(1 for _ in (served / made.folder("wds")).iterdir())
    return made


def write(kind: str, corpus: str, target: Path, count: int, work: Path, shard_bytes: int = 0) -> None:
    """By the peer's own writer, in its own environment; 0: in shards of its usual size here."""
    peer, client = _WRITERS[kind]
    command = [str(python_of(peer)), "-m", "benchmarks.loaders.write", client, corpus, str(target), str(count)]
    command += [str(shard_bytes)] if shard_bytes else []
    home = work / "home"
    home.mkdir()
    done = subprocess.run(
        command, cwd=home, env=child_environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shutil.rmtree(home)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed in {ROOT}:\n{done.stdout}")


def _ours(made: Material, work: Path, shard_bytes: int) -> str:
    """Publish, and copy it out as the mirror that is served."""
    source, repo, mirror = work / "source", work / "repo", made.served / "ours" / made.corpus
    if made.corpus == "images":
        write("wds", "images", source, made.samples, work, shard_bytes)
        uri = publish(source, name="images", repo=repo).uri
    elif made.corpus == "text":
        _write_jsonl(source, made.samples)
        uri = publish(source, name="text", repo=repo).uri
    else:
        source.mkdir()
        samples.token_stream(made.samples).tofile(source / "00000.bin")
        uri = publish(source, name="tokens", repo=repo, format="tokens", dtype="uint16").uri
    with DiskStore(repo).open(create=False) as store:
        get(uri, mirror, store=store)
    shutil.rmtree(source)
    shutil.rmtree(repo)
    return uri


def _write_jsonl(folder: Path, count: int) -> None:
    folder.mkdir()
    rows = samples.text(count)
    for first in range(0, count, _JSONL_ROWS):
        with (folder / f"{first // _JSONL_ROWS:05d}.jsonl").open("w") as file:
            for _, (number, text) in zip(range(min(_JSONL_ROWS, count - first)), rows, strict=False):
                file.write(json.dumps({"id": number, "text": text}) + "\n")
