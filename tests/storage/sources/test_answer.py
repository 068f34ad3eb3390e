"""`Answer` goes past http.client: with none of its buffers, whatever their size, a byte is lost or comes twice."""

from __future__ import annotations

import http.client
import io
import random
import socket
import threading
from collections.abc import Callable

import pytest

from holdfast.storage.errors import OversizeError, TruncatedError
from holdfast.storage.sources.answer import Answer
from holdfast.storage.sources.transfer import Transfer

BODY = random.Random(11).randbytes(700_001)
BUFFERS = [1, 512, 8192, 128 << 10, 1 << 20]


class Exchange:
    """One answer over a socket pair. `sent`: head and body in one piece, so that both land in one buffer."""

    def __init__(self, sent: bytes, *, direct: bool = True, ends: bool = True) -> None:
        ours, self._theirs = socket.socketpair()
        ours.settimeout(10)
        self._writer = threading.Thread(target=self._send, args=(sent, ends))
        self._writer.start()
        self._response = http.client.HTTPResponse(ours)
        self._response.begin()
        self.sock = _Counting(ours.dup().detach()) if direct else None
        if self.sock is not None:
            self.sock.settimeout(10)
        ours.close()
        self.transfer = Transfer()
        self.answer = Answer(self._response, self.transfer, self._response.length, self.sock)

    def _send(self, sent: bytes, ends: bool) -> None:
        try:
            self._theirs.sendall(sent)
            if ends:
                self._theirs.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        if self.sock is not None:
            self.sock.close()
        self._theirs.close()
        self._writer.join(10)


class _Counting(socket.socket):
    """Counts what is read past http.client."""

    past = 0

    def __init__(self, fd: int) -> None:
        super().__init__(fileno=fd)

    def recv_into(self, *given: object) -> int:  # type: ignore[override]
        count = super().recv_into(*given)  # type: ignore[arg-type]
        self.past += count
        return count


def head(length: int = len(BODY), more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{more}\r\n".encode()


def pieces(answer: Answer, size: int) -> bytes:
    got, buffer = bytearray(), memoryview(bytearray(size))
    while answer.left:
        part = buffer[: min(size, answer.left)]
        answer.readinto(part)
        got += part
    return bytes(got)


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("size", [1, 7000, 8193, 16 << 10, 100_000, 1 << 20])
@pytest.mark.parametrize("direct", [True, False])
def test_every_byte_comes_once_whatever_the_buffer_of_http_client(
    monkeypatch: pytest.MonkeyPatch, buffer: int, size: int, direct: bool
) -> None:
    monkeypatch.setattr(io, "DEFAULT_BUFFER_SIZE", buffer)  # 128 KiB in Python 3.14
    body = BODY[:5000] if size == 1 else BODY
    with Exchange(head(len(body)) + body, direct=direct) as exchange:
        assert pieces(exchange.answer, size) == body
        assert exchange.transfer.received == len(body)
        assert exchange.transfer.first_byte_at is not None
        assert exchange.answer.drained


@pytest.mark.parametrize("buffer", BUFFERS[1:4])
def test_all_but_the_first_piece_is_read_straight_from_the_socket(monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    monkeypatch.setattr(io, "DEFAULT_BUFFER_SIZE", buffer)
    with Exchange(head() + BODY) as exchange:
        assert pieces(exchange.answer, 16 << 10) == BODY
        assert exchange.sock is not None
        assert exchange.sock.past >= len(BODY) - buffer


@pytest.mark.parametrize("buffer", BUFFERS)
def test_skipping_and_reading_mix(monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    monkeypatch.setattr(io, "DEFAULT_BUFFER_SIZE", buffer)
    with Exchange(head() + BODY) as exchange:
        exchange.answer.skip(300_001)
        leaf = memoryview(bytearray(50_000))
        exchange.answer.readinto(leaf)
        assert leaf == BODY[300_001:350_001]
        assert exchange.answer.read(1 << 20) == BODY[350_001:]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_what_follows_the_promised_bytes_is_not_of_the_body_and_spoils_the_connection(
    monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    monkeypatch.setattr(io, "DEFAULT_BUFFER_SIZE", buffer)
    with Exchange(head(100) + BODY[:150], ends=False) as exchange:
        assert pieces(exchange.answer, 1000) == BODY[:100]
        seen = buffer > 1  # it came with the head; behind so small a buffer nobody has looked yet
        assert exchange.answer.drained is not seen


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("read", [lambda answer: answer.read(1 << 20), lambda answer: pieces(answer, 100_000)])
def test_a_body_that_ends_early_is_truncated(
    monkeypatch: pytest.MonkeyPatch, buffer: int, read: Callable[[Answer], bytes]
) -> None:
    monkeypatch.setattr(io, "DEFAULT_BUFFER_SIZE", buffer)
    for cut in (0, 1, 5000, len(BODY) - 1):
        with Exchange(head() + BODY[:cut]) as exchange, pytest.raises(TruncatedError, match=f"{len(BODY) - cut}|early"):
            read(exchange.answer)


@pytest.mark.parametrize("direct", [True, False])
def test_chunks_and_bodies_until_the_end_are_left_to_http_client(direct: bool) -> None:
    chunks = b"".join(f"{len(BODY[at:at + 70000]):x}\r\n".encode() + BODY[at : at + 70000] + b"\r\n" for at in range(0, len(BODY), 70000))  # fmt: skip # noqa: E501
    for sent in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    ):
        with Exchange(sent, direct=direct) as exchange:
            assert exchange.answer.length is None
            assert exchange.answer.read(len(BODY)) == BODY
        with Exchange(sent, direct=direct) as exchange, pytest.raises(OversizeError):
            exchange.answer.read(len(BODY) - 1)
        with Exchange(sent, direct=direct) as exchange:
            leaf = memoryview(bytearray(100_000))
            exchange.answer.readinto(leaf)
            assert leaf == BODY[:100_000]


def test_an_empty_body_is_no_bytes() -> None:
    with Exchange(head(0)) as exchange:
        assert exchange.answer.read(10) == b""
        assert exchange.answer.drained
