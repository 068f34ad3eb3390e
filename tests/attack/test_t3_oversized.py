"""T3: answers that are longer than asked for, lie about it, or never end. Reading stops; memory stays flat."""

import random
import tracemalloc
from pathlib import Path

import pytest

from holdfast.storage.errors import IntegrityError
from holdfast.storage.get import get
from holdfast.storage.limits import MAX_BLOCK_BYTES
from support.mirror_server import MirrorServer, Reply, Script
from support.trees import LEAF, mirror_folder

FILES = {"data/a.bin": random.Random(10).randbytes(5 * LEAF)}


def _longer(extra: int) -> Script:
    def script(path: str, reply: Reply) -> Reply | None:
        if reply.status != 404:
            reply.body += bytes(extra)
        return reply

    return script


def _endless(path: str, reply: Reply) -> Reply | None:
    if reply.status != 404:
        reply.headers["Content-Length"] = str(1 << 50)
        reply.endless = True
    return reply


ATTACKS = {"one byte more": _longer(1), "ten times": _longer(50 * LEAF), "endless": _endless}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_oversized_answer_is_left_and_healed_elsewhere(tmp_path: Path, attack: str) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with MirrorServer(tmp_path / "origin", ATTACKS[attack]) as bad, MirrorServer(tmp_path / "origin") as good:
        result = get(str(root), tmp_path / "copy", sources=[bad.url, good.url])
    assert (tmp_path / "copy/data/a.bin").read_bytes() == FILES["data/a.bin"]
    worst = next(source for source in result.sources if source.url == bad.url)
    assert worst.verdicts.get("OVERSIZE", 0) + worst.verdicts.get("WRONG_BYTES", 0) >= 1
    assert worst.bytes <= MAX_BLOCK_BYTES + len(FILES["data/a.bin"]), "a node's length is not known before it comes"


def test_an_endless_body_alone_ends_in_an_error_and_bounded_memory(tmp_path: Path) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with MirrorServer(tmp_path / "origin", _endless) as bad:
        tracemalloc.start()
        try:
            with pytest.raises(IntegrityError, match="OVERSIZE"):
                get(str(root), tmp_path / "copy", sources=[bad.url], deadline_s=3)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 32 << 20
    assert not (tmp_path / "copy/data").exists()
