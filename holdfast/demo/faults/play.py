"""`answer`: one request answered, honestly or in the way of one behaviour."""

from __future__ import annotations

import asyncio
import gzip
import http.client
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from .behaviour import Behaviour
from .body import Body, Zeros, flip, part, size
from .line import Line
from .origin import Reply, Request

_FOREVER = 1 << 50
_BOMB = gzip.compress(bytes(8 << 20), mtime=0)


@dataclass(frozen=True, slots=True)
class Turn:
    """One request, the honest reply to it, and how it is to be answered."""

    line: Line
    request: Request
    reply: Reply
    behaviour: Behaviour

    async def head(self, **headers: object) -> None:
        """Send the head; `_` in names is `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reason = http.client.responses.get(self.reply.status, "Odd")
        lines = [f"{name}: {value}" for name, value in {**self.reply.headers, **named}.items()]
        await self.line.head("\r\n".join([f"HTTP/1.1 {self.reply.status} {reason}", *lines, "", ""]).encode("latin-1"))

    async def send(self, *, length: int | None = None) -> bool:
        """Send the reply under a length, true or not."""
        await self.head(Content_Length=size(self.reply.body) if length is None else length)
        if self.request.method != "HEAD":
            await self.line.body(self.reply.body)
        return self.request.alive

    def having(self, body: Body) -> Turn:
        """The same with another body."""
        return replace(self, reply=replace(self.reply, body=body))


Play = Callable[[Turn], Awaitable[bool]]
Change = Callable[[Turn], Turn]


async def answer(turn: Turn) -> bool:
    """Send the answer. Returns whether the connection may carry another request."""
    variant, retry_after = turn.behaviour.variant, turn.behaviour.retry_after
    play = _PLAYS.get(variant)
    if play is None:
        headers = {"Retry-After": retry_after} if retry_after else {}
        play, turn = Turn.send, replace(turn, reply=Reply(int(variant), (b"no\n",), headers))
    return await play(turn)


def _changed(change: Change) -> Play:
    async def play(turn: Turn) -> bool:
        return await (change(turn) if turn.reply.body else turn).send()

    return play


def _one_bit(turn: Turn) -> Turn:
    body, at = turn.reply.body, turn.behaviour.at
    return turn.having(flip(body, size(body) // 2 if at is None else min(at, size(body) - 1)))


def _zeros(turn: Turn) -> Turn:
    return turn.having((Zeros(size(turn.reply.body)),))


def _swapped(turn: Turn) -> Turn:
    body, unit = turn.reply.body, turn.behaviour.unit
    if size(body) < 2 * unit:  # too short: the halves
        unit = max(size(body) // 2, 1)
    return turn.having((*part(body, unit, 2 * unit), *part(body, 0, unit), *part(body, 2 * unit, size(body))))


def _neighbour(turn: Turn) -> Turn:
    length, other = size(turn.reply.body), turn.reply.neighbour
    if turn.reply.status == 200 and other:
        return turn.having(other)
    return turn.having((*part(other, 0, length), Zeros(max(length - size(other), 0))))


def _shifted(turn: Turn) -> Turn:
    """A range that says what was asked for and begins `unit` bytes later."""
    whole, length = turn.reply.whole, size(turn.reply.body)
    start = int(turn.reply.headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0]) + turn.behaviour.unit
    start %= max(size(whole), 1)
    return turn.having(part((*whole, *whole), start, start + length))


def _wrong_range(turn: Turn) -> Turn:
    headers = {**turn.reply.headers, "Content-Range": "bytes 7-8/9"}
    return replace(turn, reply=replace(turn.reply, status=206, headers=headers))


def _whole_file(turn: Turn) -> Turn:
    return replace(turn, reply=Reply(200, turn.reply.whole)) if turn.reply.status == 206 else turn


def _short(turn: Turn) -> Turn:
    return turn.having(part(turn.reply.body, 0, turn.behaviour.at or 0))


def _longer(turn: Turn) -> Turn:
    return turn.having((*turn.reply.body, Zeros(turn.behaviour.extra)))


async def _close(turn: Turn) -> bool:
    await turn.head(Connection="close")
    await turn.line.body(turn.reply.body)
    return False


async def _cut(turn: Turn) -> bool:
    await _short(turn).send(length=size(turn.reply.body))
    return False


async def _lying_length(turn: Turn) -> bool:
    await turn.send(length=_FOREVER)
    return False


async def _endless(turn: Turn) -> bool:
    await turn.having((*turn.reply.body, Zeros(_FOREVER))).send(length=_FOREVER)
    return False


def _chunked(end: bytes, *, cut: bool = False, endless: bool = False) -> Play:
    async def play(turn: Turn) -> bool:
        body, line = (_short(turn) if cut else turn).reply.body, turn.line
        await turn.head(Transfer_Encoding="chunked")
        for start in range(0, size(body), 1 << 16):
            piece = part(body, start, start + (1 << 16))
            await line.head(f"{size(piece):x}\r\n".encode())
            await line.body(piece)
            await line.head(b"\r\n")
        while endless:
            await line.head(b"10000\r\n")
            await line.body((Zeros(1 << 16),))
            await line.head(b"\r\n")
        await line.head(end)
        return turn.request.alive and end == b"0\r\n\r\n"

    return play


async def _drip(turn: Turn) -> bool:
    body = turn.reply.body
    await turn.head(Content_Length=size(body))
    for at in range(size(body)):
        await turn.line.body(part(body, at, at + 1))
        await asyncio.sleep(turn.behaviour.drip_s)
    return turn.request.alive


async def _drip_head(turn: Turn) -> bool:
    await turn.line.head(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while True:
        await turn.line.head(b"x")
        await asyncio.sleep(turn.behaviour.drip_s)


async def _stall_head(turn: Turn) -> bool:
    await turn.line.gone()
    return False


async def _stall_body(turn: Turn) -> bool:
    await _cut(turn)
    await turn.line.gone()
    return False


async def _reset(turn: Turn) -> bool:
    turn.line.reset()
    return False


def _endlessly(start: bytes, more: bytes) -> Play:
    async def play(turn: Turn) -> bool:
        await turn.line.head(start)
        while more:
            await turn.line.head(more)
        return False

    return play


async def _encoding(turn: Turn) -> bool:
    return await replace(turn, reply=Reply(200, (_BOMB,), {"Content-Encoding": "gzip"})).send()


async def _redirect(turn: Turn) -> bool:
    location = turn.request.target if turn.behaviour.variant == "redirect-loop" else turn.behaviour.location
    return await replace(turn, reply=Reply(302, (), {"Location": location})).send()


_PLAYS: Mapping[str, Play] = {
    "honest": Turn.send, "chunked": _chunked(b"0\r\n\r\n"), "whole-file": _changed(_whole_file), "close": _close,
    "one-bit": _changed(_one_bit), "zeros": _changed(_zeros), "swapped": _changed(_swapped),
    "neighbour": _changed(_neighbour), "shifted": _changed(_shifted), "wrong-range": _changed(_wrong_range),
    "status-line": _endlessly(b"SSH-2.0-OpenSSH_9.6\r\n\r\n\r\n", b""),
    "endless-headers": _endlessly(b"HTTP/1.1 200 OK\r\n", b"X-Filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
    "huge-header": _endlessly(b"HTTP/1.1 200 OK\r\nX-Huge: ", b"y" * 65536),
    "chunk-size": _chunked(b"-5\r\nfffffffffffffffffff\r\n"), "encoding": _encoding,
    "cut": _cut, "short": _changed(_short),
    "chunked-end": _chunked(b"0\r\n\r\n", cut=True), "chunked-cut": _chunked(b"4000\r\n", cut=True),
    "longer": _changed(_longer), "lying-length": _lying_length, "endless": _endless,
    "endless-chunked": _chunked(b"", endless=True),
    "drip": _drip, "drip-head": _drip_head, "stall-head": _stall_head, "stall-body": _stall_body,
    "reset": _reset, "redirect": _redirect, "redirect-loop": _redirect,
}  # fmt: skip
