"""What a fetcher and its clients send: a JSON object and a payload of bytes, each behind its length. Bounded."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import Any

from ...storage import errors
from ...storage.errors import HoldfastError, UnavailableError

PROTOCOL = 1
MAX_WORDS = 4 << 20  # of JSON: a list of half a million leaves
MAX_PAYLOAD = 256 << 20  # digests of a file: 8 million leaves
_LENGTHS = struct.Struct("<II")

Words = dict[str, Any]


class HungUpError(Exception):
    """The other side is gone, or talks nonsense."""


class Line:
    """One end of a connection. Not safe between threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def patience(self, seconds: float) -> None:
        """How long a wait for the other side may take from now on."""
        self._sock.settimeout(seconds)

    def send(self, words: Words, payload: bytes | memoryview = b"") -> None:
        """Raises `HungUpError`."""
        text = json.dumps(words, separators=(",", ":")).encode()
        try:
            self._sock.sendall(_LENGTHS.pack(len(text), len(payload)) + text)
            if payload:
                self._sock.sendall(payload)
        except OSError as error:
            raise HungUpError(str(error)) from error

    def receive(self) -> tuple[Words, bytearray]:
        """The next message. Raises `HungUpError`, also when nothing comes in time."""
        size, extra = _LENGTHS.unpack(self._read(_LENGTHS.size))
        if size > MAX_WORDS or extra > MAX_PAYLOAD:
            raise HungUpError(f"a message of {size} and {extra} bytes")
        try:
            words = json.loads(self._read(size))
        except ValueError as error:
            raise HungUpError(f"a message that is no JSON: {error}") from error
        if not isinstance(words, dict):
            raise HungUpError("a message that is no object")
        return words, self._read(extra)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                count = self._sock.recv_into(view[got:])
            except OSError as error:
                raise HungUpError(str(error) or type(error).__name__) from error
            if not count:
                raise HungUpError("the connection ended")
            got += count
        return data

    def close(self) -> None:
        """Hang up; a thread that waits for the other side wakes. Idempotent."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def error_words(error: BaseException) -> Words:
    """An error as a message."""
    if isinstance(error, HoldfastError):
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"error": "StoreError", "message": f"the fetcher: {type(error).__name__}: {error}", "hint": ""}


def raise_error(words: Words) -> None:
    """Raise the error of an answer, if it is one."""
    name = words.get("error")
    if name is None:
        return
    found = getattr(errors, str(name), None)
    kind = found if isinstance(found, type) and issubclass(found, HoldfastError) else UnavailableError
    raise kind(str(words.get("message")), hint=str(words.get("hint") or ""))
