"""An epoch over a cache does not look like memory: pages of its maps that were touched are let go."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import StreamingDataset, TokenDataset
from holdfast.loaders import pages
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
MIB = 1 << 20


def _mapped(folder: Path) -> int:
    """Bytes of files below `folder` that count as this process's memory."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            ours = os.fspath(folder) in line
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


def test_what_was_touched_is_let_go(publish_folder: Any, serve: Serve, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "src").mkdir()
    tokens = np.random.default_rng(7).integers(0, 60_000, 12 * MIB, dtype=np.uint16)
    tokens.tofile(tmp_path / "src/0.bin")
    published = publish_folder(tmp_path / "src", format="tokens", dtype="uint16")
    options = {"sources": [serve(published.folder).url], "cache": tmp_path / "cache"}
    monkeypatch.setattr(pages.Pages.__init__, "__defaults__", (4 * MIB,))
    streamed = StreamingDataset(published.uri, seq_len=2048, **options)
    found, most = {}, 0
    for number, sample in enumerate(streamed):
        found[sample["__index__"]] = sample["tokens"]
        most = max(most, _mapped(tmp_path / "cache")) if number % 64 == 0 else most
    assert most <= 12 * MIB, "of 24"
    dataset = TokenDataset(published.uri, seq_len=2048, **options)
    for start in range(0, len(dataset) - 64, 64):
        rows = dataset.read_strided(start, 1, 64)
        assert all(np.array_equal(row, found[start + at]) for at, row in enumerate(rows))
    assert _mapped(tmp_path / "cache") <= 12 * MIB
    assert np.array_equal(np.concatenate([found[at][:-1] for at in range(len(found))]), tokens[: len(found) * 2048])
    streamed.close()
    dataset.close()
