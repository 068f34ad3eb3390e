"""A token dataset that lies nowhere: leaves are made when they are asked for, nodes and manifest are kept in memory.

So 40 GB or a million shards can be opened on any machine. Every leaf begins with its own number, so that all differ.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np

from holdfast.pipeline.assemble import documents, make_head
from holdfast.pipeline.options import PublishOptions
from holdfast.storage.dag.build import Entry, build_file, build_tree
from holdfast.storage.manifest import Shard
from holdfast.storage.sources.mirror import BLOCKS_FOLDER

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_COUNTS = "/-/counts"
_NUMBER = 8  # bytes, little-endian, at the start of a leaf


@dataclass
class Synthetic:
    """`shards` files of `shard_bytes` in leaves of `leaf_size`; small files and nodes by their paths."""

    shards: int
    shard_bytes: int
    leaf_size: int
    uri: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rest = np.random.default_rng(5).bytes(self.leaf_size - _NUMBER)
        self._leaves = -(-self.shard_bytes // self.leaf_size)

    @staticmethod
    def path(number: int) -> str:
        """Of a shard."""
        return f"data/{number // 1000:04d}/{number:07d}.bin"

    def leaf(self, shard: int, leaf: int) -> bytes:
        """The bytes of a leaf."""
        number = (shard * self._leaves + leaf).to_bytes(_NUMBER, "little")
        length = min(self.leaf_size, self.shard_bytes - leaf * self.leaf_size)
        return (number + self._rest)[:length]

    def read(self, shard: int, start: int, end: int) -> bytes:
        """A range of a shard."""
        first = start // self.leaf_size
        whole = b"".join(self.leaf(shard, leaf) for leaf in range(first, (end - 1) // self.leaf_size + 1))
        return whole[start - first * self.leaf_size : end - first * self.leaf_size]

    def build(self) -> Synthetic:
        """Hash every leaf once, and keep nodes and documents: some 10 µs a leaf."""
        tokens = self.shard_bytes // 2
        options = PublishOptions("synthetic", "tokens", self.leaf_size, dtype="uint16")
        entries: dict[str, Entry] = {}
        shards: list[Shard] = []
        for number in range(self.shards):
            leaves = (hashlib.sha256(self.leaf(number, leaf)).digest() for leaf in range(self._leaves))
            layout, entry, nodes = build_file(self.shard_bytes, self.leaf_size, b"".join(leaves))
            self.files.update((f"{BLOCKS_FOLDER}/{node.cid}", node.data) for node in nodes)
            path = self.path(number)
            entries[path] = entry
            shards.append(
                Shard(
                    path=path, cid=str(layout.cid), bytes=self.shard_bytes, samples=tokens, first_sample=number * tokens
                )
            )
        head = make_head("tokens", shards, {}, 1, options, None)
        for path, data in documents(head, shards).items():
            entries[path] = self._keep(path, data)
        root, nodes = build_tree(entries)
        self.files.update((f"{BLOCKS_FOLDER}/{node.cid}", node.data) for node in nodes)
        self.uri = f"ipfs://{root.cid}"
        return self

    def _keep(self, path: str, data: bytes) -> Entry:
        starts = range(0, max(len(data), 1), self.leaf_size)
        digests = b"".join(hashlib.sha256(data[at : at + self.leaf_size]).digest() for at in starts)
        _, entry, nodes = build_file(len(data), self.leaf_size, digests)
        self.files[path] = data
        self.files.update((f"{BLOCKS_FOLDER}/{node.cid}", node.data) for node in nodes)
        return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    dataset: Synthetic
    counts: Counter[str]
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """A node, a small file, or a range of a shard."""
        path = self.path.partition("?")[0].lstrip("/")
        if f"/{path}" == _COUNTS:
            self._send("counts", json.dumps(self.counts).encode())
        elif path in self.dataset.files:
            kind = "nodes" if path.startswith(BLOCKS_FOLDER) else "documents"
            self._part(kind, self.dataset.files[path], self.headers.get("Range", ""))
        elif path.startswith("data/") and (wanted := _RANGE.fullmatch(self.headers.get("Range", ""))):
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, self.dataset.shard_bytes)
            data = self.dataset.read(int(path[-11:-4]), start, end)
            self._send("leaves", data, (start, end, self.dataset.shard_bytes))
        else:
            self.send_error(404)

    def _part(self, kind: str, data: bytes, header: str) -> None:
        wanted = _RANGE.fullmatch(header)
        if not wanted:
            self._send(kind, data)
            return
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        self._send(kind, data[start:end], (start, end, len(data)))

    def _send(self, kind: str, data: bytes, part: tuple[int, int, int] | None = None) -> None:
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(len(data)))
        if part:
            self.send_header("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{part[2]}")
        self.end_headers()
        self.wfile.write(data)
        with self.lock:
            self.counts[kind] += len(data)
            self.counts[f"{kind} requests"] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Clients hang up."""


@contextmanager
def serving(dataset: Synthetic) -> Iterator[str]:
    """A mirror, in a process that is forked from this one and shares its memory; yields the URL."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(dataset, sock), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        process.terminate()
        process.join()
        sock.close()


def counts(url: str) -> Counter[str]:
    """Bytes and requests so far: of leaves, of nodes, of documents."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request("GET", _COUNTS)
    found = Counter(json.loads(connection.getresponse().read()))
    connection.close()
    return found


def _serve(dataset: Synthetic, sock: socket.socket) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    handler = type("Handler", (_Handler,), {"dataset": dataset, "counts": Counter()})
    server = _Server(("127.0.0.1", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = sock
    server.serve_forever()
