"""`PieceHasher`: the piece of a stream, while it is written or read: 1 MiB after the other, several at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO

from .kernel import subtree
from .piece import SUBTREE_BYTES, SUBTREE_HEIGHT, Piece
from .piece_cid import height_for

_READ_BYTES = 1 << 20
_AHEAD = 4  # subtrees that wait for a thread: whoever reads does not wait while one of them has nothing to do


class PieceHasher:
    """Takes a payload from its beginning, or from where `layer`, the roots of what came before, ends.

    Memory: `threads` + 5 subtrees of 1 MiB, and 32 bytes for each that is done. Not for several threads at once.
    Leaving the `with` block stops its threads. After an exception in one of its methods it can only be left.
    """

    def __init__(self, *, threads: int | None = None, layer: bytes = b"") -> None:
        self._threads = threads or min(os.cpu_count() or 1, 4)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="holdfast-commp")
        self._broken = False
        self._layer = bytearray(layer)
        self._size = len(layer) // 32 * SUBTREE_BYTES  # of what is in the layer, or on its way there
        self._buffers: list[bytearray] = []  # to be used again: fresh memory for each MiB costs page faults
        self._part, self._filled = bytearray(SUBTREE_BYTES), 0
        self._under_way: deque[tuple[Future[bytes], bytearray]] = deque()

    def __enter__(self) -> PieceHasher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes of the payload."""
        view = memoryview(data).cast("B")
        with self._unbroken():
            while len(view):
                count = min(len(view), SUBTREE_BYTES - self._filled)
                memoryview(self._part)[self._filled : self._filled + count] = view[:count]
                self._filled += count
                view = view[count:]
                if self._filled == SUBTREE_BYTES:
                    self._start()

    def read(self, stream: BinaryIO) -> None:
        """All that is left of a stream. Raises `BlockingIOError` for one that has nothing just now."""
        read: Callable[[int], bytes | None] = stream.read
        while (data := read(_READ_BYTES)) != b"":
            if data is None:
                raise BlockingIOError("the stream does not block")
            self.update(data)

    @property
    def done(self) -> tuple[bytes, int]:
        """The layer so far, and how many bytes of payload it stands for: what another hasher can go on from."""
        with self._unbroken():
            while self._under_way:
                self._take()
        return bytes(self._layer), len(self._layer) // 32 * SUBTREE_BYTES

    @property
    def size(self) -> int:
        """Bytes of payload so far."""
        return self._size + self._filled

    def finish(self) -> Piece:
        """The piece; nothing may follow."""
        size = self.size
        layer, _ = self.done
        if self._filled or not layer:
            layer += subtree(memoryview(self._part)[: self._filled], min(SUBTREE_HEIGHT, height_for(size)))
        return Piece.of(layer, size)

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """An interrupt, or memory that is short, may fall between two steps: what comes out then is not known."""
        if self._broken:
            raise RuntimeError("this hasher was interrupted: go on with another one, from an earlier `done`")
        self._broken = True
        yield
        self._broken = False

    def _start(self) -> None:
        while len(self._under_way) >= self._threads + _AHEAD:
            self._take()
        self._under_way.append((self._pool.submit(subtree, self._part, SUBTREE_HEIGHT), self._part))
        self._size += SUBTREE_BYTES
        self._part, self._filled = self._buffers.pop() if self._buffers else bytearray(SUBTREE_BYTES), 0

    def _take(self) -> None:
        root, buffer = self._under_way.popleft()
        self._layer += root.result()
        self._buffers.append(buffer)
