"""A peer in a thread with an event loop of its own, a published folder for it, and requests as raw as can be."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.blocks.hashing import hash_file
from holdfast.storage.cid import CID
from holdfast.storage.dag.build import build_tree
from holdfast.storage.node.server import Node, NodeOptions

from .trees import LEAF, file_dag


def publish_folder(store: DiskStore, folder: Path, files: Mapping[str, bytes], leaf_size: int = LEAF) -> CID:
    """Write `files`, refer to them from the store, and return the root."""
    entries, adopted = {}, []
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        layout, entry, nodes = file_dag(data, leaf_size)
        entries[path] = entry
        adopted.append((target, layout, nodes))
    time.sleep(0.03)  # stamps are trusted once the clock's tick is over
    store.adopt_all(
        [(hash_file(path, layout.leaf_size), layout, nodes) for path, layout, nodes in adopted], owned=False
    )
    root, nodes = build_tree(entries)
    for block in nodes:
        store.put(block.cid, block.data)
    return root.cid


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    whole: bool = True

    def json(self) -> Any:
        return json.loads(self.body)


class RunningNode:
    """A context manager: a node over `repo`."""

    def __init__(self, repo: Path, **options: Any) -> None:
        self.store = DiskStore(repo)
        self._options = NodeOptions(**options)

    def __enter__(self) -> RunningNode:
        self.store.open()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.node = Node(self.store, self._options)
        try:
            self._run(self.node.start())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.node.stop())
        self._close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def _close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.store.close()

    @property
    def url(self) -> str:
        return self.node.url

    def ask(self, method: str, target: str, headers: Mapping[str, str] | None = None, body: object = None) -> Answer:
        return ask(self.url, method, target, headers, body)

    def get(self, target: str, **headers: str) -> Answer:
        return self.ask("GET", target, {name.replace("_", "-"): value for name, value in headers.items()})

    def pin(self, cid: CID, *origins: str, name: str = "x", headers: Mapping[str, str] | None = None) -> str:
        answer = self.ask("POST", "/pins", headers, {"cid": str(cid), "name": name, "origins": list(origins)})
        assert answer.status == 202, answer
        return str(answer.json()["requestid"])

    def settled(self, requestid: str, timeout_s: float = 20) -> Any:
        return settled(self.url, requestid, timeout_s)


def ask(url: str, method: str, target: str, headers: Mapping[str, str] | None = None, body: object = None) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=20)
    try:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, target, data, dict(headers or {}))
        response = connection.getresponse()
        try:
            return Answer(response.status, response.headers, response.read())
        except http.client.IncompleteRead as error:
            return Answer(response.status, response.headers, error.partial, whole=False)
        except ConnectionResetError:
            return Answer(response.status, response.headers, b"", whole=False)
    finally:
        connection.close()


def settled(url: str, requestid: str, timeout_s: float = 20) -> Any:
    """The status of a pin, once it is pinned or failed."""
    limit = time.monotonic() + timeout_s
    while True:
        answer = ask(url, "GET", f"/pins/{requestid}").json()
        if answer["status"] in ("pinned", "failed"):
            return answer
        assert time.monotonic() < limit, answer
        time.sleep(0.02)
