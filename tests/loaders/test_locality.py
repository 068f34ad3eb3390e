"""What each rank downloads: with W dividing the lanes, little more than its share; on one machine, each leaf once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import StreamingDataset
from support.mirror_server import MirrorServer

Serve = Callable[..., MirrorServer]
TOKENS = 20_000_000


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory, publish_folder: Any) -> Any:
    """40 MB in four files, leaves of 16 KiB, blocks of one run (256 KiB): then it has eight lanes."""
    source = tmp_path_factory.mktemp("tokens")
    stream = np.random.default_rng(6).integers(0, 60_000, TOKENS, dtype=np.uint16)
    for number, part in enumerate(np.split(stream, 4)):
        part.tofile(source / f"{number}.bin")
    return publish_folder(source, format="tokens", dtype="uint16", leaf_size=16384, shuffle_block=256 << 10)


# One lane to a rank would be 1.13 here: a sixteenth for the block at its border, and as much for the last token of
# each run's last window, which lies in the next leaf (a run of 256 KiB has 16 leaves).
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_of_different_machines_download_their_share(
    tokens: Any, serve: Serve, tmp_path: Path, world: int
) -> None:
    url = serve(tokens.folder).url
    for rank in range(world):
        dataset = StreamingDataset(
            tokens.uri, sources=[url], cache=tmp_path / str(rank), seq_len=2048, rank=rank, world_size=world
        )
        for _ in dataset:
            pass
        found = dataset.stats()
        dataset.close()
        # without nodes: of so small a dataset they are two per cent
        assert found.missed_bytes <= 1.1 * 2 * TOKENS / world, f"rank {rank} of {world}"
        assert found.refetched_bytes == 0


def test_ranks_of_one_machine_fetch_each_leaf_once(tokens: Any, serve: Serve, tmp_path: Path) -> None:
    url = serve(tokens.folder).url
    fetched = 0
    for rank in range(3):  # no divisor of the lanes: their leaves are the same
        dataset = StreamingDataset(tokens.uri, sources=[url], cache=tmp_path, seq_len=2048, rank=rank, world_size=3)
        for _ in dataset:
            pass
        fetched += dataset.stats().verified_bytes
        dataset.close()
    assert fetched <= 1.01 * 2 * TOKENS
