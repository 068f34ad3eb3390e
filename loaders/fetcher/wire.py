"""What a fetcher and its clients send: a JSON object and a payload of bytes, each behind its length. Bounded."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import Any

from ...storage import errors
from ...storage.errors import HoldfastError, UnavailableError

PROTOCOL = 2
MAX_WORDS = 4 << 20  # of JSON: a list of half a million leaves
MAX_PAYLOAD = 256 << 20  # digests of a file: 8 million leaves
_PART_S = 2.0
_LENGTHS = struct.Struct("<II")

Words = dict[str, Any]


class HungUpError(Exception):
    """The other side is gone, or talks nonsense."""


class SilentError(HungUpError):
    """The other side said nothing, or took nothing, for too long: it hangs, or is stopped."""


class NoFetcherError(Exception):
    """No fetcher will work for this client any more. Stays inside `SharedFetching`."""


class Line:
    """One end of a connection. Not safe between threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._receive_s: float | None = None
        self._send_s: float | None = None

    def patience(self, receive_s: float | None, send_s: float) -> None:
        """How long the other side may say nothing (None: for ever), and take nothing of what is sent, from now on."""
        self._receive_s, self._send_s = receive_s, send_s

    def send(self, words: Words, payload: bytes | memoryview = b"") -> None:
        """Raises `HungUpError`."""
        text = json.dumps(words, separators=(",", ":")).encode()
        try:
            # not SO_SNDTIMEO: a call that a signal handler interrupts is made again, and would wait as long again
            self._sock.settimeout(self._send_s)
            for part in (_LENGTHS.pack(len(text), len(payload)) + text, payload):
                view = memoryview(part)
                while view:  # not `sendall`, whose timeout is for all of it
                    view = view[self._sock.send(view) :]
        except TimeoutError as error:
            raise SilentError("nothing was taken in time") from error
        except OSError as error:
            raise HungUpError(str(error)) from error

    def receive(self) -> tuple[Words, bytearray]:
        """The next message. Raises `HungUpError`; `SilentError` when nothing comes in time."""
        size, extra = _LENGTHS.unpack(self._read(_LENGTHS.size))
        if size > MAX_WORDS or extra > MAX_PAYLOAD:
            raise HungUpError(f"a message of {size} and {extra} bytes")
        try:
            words = json.loads(self._read(size))
        except (ValueError, RecursionError) as error:
            raise HungUpError(f"a message that is no JSON: {error}") from error
        if not isinstance(words, dict):
            raise HungUpError("a message that is no object")
        return words, self._read(extra)

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                self._sock.settimeout(self._receive_s)
                count = self._sock.recv_into(view[got:])
            except TimeoutError as error:
                raise SilentError("nothing came in time") from error
            except OSError as error:
                raise HungUpError(str(error) or type(error).__name__) from error
            if not count:
                raise HungUpError("the connection ended")
            got += count
        return data

    def part(self) -> None:
        """Hang up, once the other side has seen that nothing more comes, and has given back what it held for us."""
        with suppress(OSError, HungUpError):
            self._sock.shutdown(socket.SHUT_WR)
            self.patience(_PART_S, _PART_S)
            while True:
                self.receive()  # an answer that nobody waits for
        self.close()

    def cut(self) -> None:
        """Nothing comes or goes any more; a thread that waits for the other side wakes. Safe from any thread."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up; a thread that waits for the other side wakes. Idempotent."""
        self.cut()
        self._sock.close()


def error_words(error: HoldfastError) -> Words:
    """An error as a message."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def raise_error(words: Words) -> None:
    """Raise the error of an answer, if it is one."""
    name = words.get("error")
    if name is None:
        return
    found = getattr(errors, str(name), None)
    kind = found if isinstance(found, type) and issubclass(found, HoldfastError) else UnavailableError
    raise kind(str(words.get("message")), hint=str(words.get("hint") or ""))
