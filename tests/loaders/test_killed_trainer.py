"""A training that is killed leaves nothing: no worker, no fetcher, no lease, nothing in shared memory."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import DataLoader
from holdfast.loaders.cache import ShardCache
from holdfast.loaders.cache_contents import contents
from support.mirror_server import MirrorServer
from support.programs import Program

Serve = Callable[..., MirrorServer]

TRAINER = """
import multiprocessing, signal, sys, threading
from holdfast import DataLoader

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in its background without
    uri, url, cache, context = sys.argv[1:]
    loader = DataLoader(
        uri, batch_size=4, num_workers=2, sources=[url], cache=cache, collate_fn=list, multiprocessing_context=context
    )
    batches = iter(loader)
    next(batches)
    answer([child.pid for child in multiprocessing.active_children()])
    threading.Event().wait(60)

main()
"""


@pytest.fixture
def published(publish_folder: Any, tmp_path: Path) -> Any:
    """Samples of 100 KB: what workers send does not fit into a pipe, and they wait there."""
    (tmp_path / "src").mkdir()
    for shard in range(3):
        with tarfile.open(tmp_path / "src" / f"{shard}.tar", "w") as tar:
            for number in range(40):
                info = tarfile.TarInfo(f"s{shard}{number:02d}.bin")
                info.size = 100_000
                tar.addfile(info, io.BytesIO(bytes(info.size)))
    return publish_folder(tmp_path / "src")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_workers_end_with_their_trainer(
    published: Any, serve: Serve, tmp_path: Path, how: signal.Signals, context: str
) -> None:
    url = serve(published.folder).url
    trainer = Program(TRAINER, published.uri, url, tmp_path / "c", context)
    workers = trainer.said()
    assert len(workers) >= 2
    os.kill(trainer.pid, how)
    assert trainer.wait() == -how
    cache = ShardCache(tmp_path / "c", 0)
    limit = time.monotonic() + 30
    while any(map(_alive, workers)) or any(shard.in_use for shard in contents(cache)):
        assert time.monotonic() < limit, f"still there: {[pid for pid in workers if _alive(pid)]}, {contents(cache)}"
        time.sleep(0.05)
    theirs = [f"_{pid}_" for pid in (trainer.pid, *workers)]  # as torch and multiprocessing name what they share
    assert not [name for name in os.listdir("/dev/shm") if any(part in name for part in theirs)]
    loader = DataLoader(published.uri, batch_size=4, sources=[url], cache=tmp_path / "c", collate_fn=list)
    assert sum(map(len, loader)) == 120
    loader.dataset.close()


def test_a_worker_that_is_blocked_ends_when_it_is_interrupted(published: Any, serve: Serve, tmp_path: Path) -> None:
    """Ctrl-C goes to all processes of a terminal; torch's waits for a pipe that nobody reads."""
    trainer = Program(TRAINER, published.uri, serve(published.folder).url, tmp_path / "c", "fork")
    workers = trainer.said()
    readers = [pid for pid in workers if b"fetcher" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(readers) == 2
    for pid in readers:
        os.kill(pid, signal.SIGINT)
    limit = time.monotonic() + 30
    while any(map(_alive, readers)):
        assert time.monotonic() < limit, "still blocked"
        time.sleep(0.05)
    trainer.kill()


def _alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has asked for yet does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
