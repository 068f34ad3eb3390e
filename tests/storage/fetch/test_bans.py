"""A source that sent a leaf wrong is never asked for that leaf again, also when the file is opened anew."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast.storage.blocks.memory_file import MemoryFile
from holdfast.storage.errors import IntegrityError
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.sources.http import Endpoint
from holdfast.storage.sources.mirror import Mirror
from holdfast.storage.sources.source import FileRef
from support.mirror_server import MirrorServer, Reply
from support.trees import LEAF, file_dag, mirror_folder


def test_a_ban_outlives_the_handle_of_the_file(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(2 * LEAF)
    root = mirror_folder(tmp_path, {"data/a": data})
    ref = FileRef(root, "data/a", file_dag(data)[0])

    def lie(path: str, reply: Reply) -> Reply | None:
        if path == "data/a":
            reply.body = bytes(len(reply.body))
        return reply

    with MirrorServer(tmp_path, lie) as server, FetchEngine([Mirror("liar", Endpoint(server.url))]) as engine:
        for _ in range(3):
            handle = engine.open_file(ref, MemoryFile(ref.layout))
            engine.want(handle, [0], 0.0)
            with pytest.raises(IntegrityError, match="WRONG_BYTES"):
                engine.wait(handle, [0])
            engine.close_file(handle)
        assert server.requests == ["data/a"], "asked once, and never again for this leaf"
