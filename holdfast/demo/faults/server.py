"""`FaultServer`: HTTP/1.1 over real sockets, in a thread of its own, that plays behaviours."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .behaviour import HONEST, WHOLE_SERVER, Behaviour
from .line import Line, Pace
from .origin import Folder, Origin, Reply, Request, Upstream
from .play import Turn, answer

STATS_PATH = "-/stats"
_BACKLOG = 128
_REMEMBERED = 100_000


@dataclass(slots=True)
class Stats:
    """What a server did. `bytes_sent` are body bytes; `played` counts answers by verdict/variant."""

    requests: int = 0
    connections: int = 0
    bytes_sent: int = 0
    played: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "requests": self.requests, "connections": self.connections, "bytes_sent": self.bytes_sent,
            "played": dict(self.played),
        }  # fmt: skip


class FaultServer:
    """A context manager. `FaultServer(folder)` serves a folder, `FaultServer.before(url)` another server.

    `rate_bytes_s` is over all connections together, `delay_s` before each answer.
    """

    def __init__(
        self, origin: Path | Origin, *behaviours: Behaviour, rate_bytes_s: float | None = None, delay_s: float = 0.0
    ) -> None:
        self._origin = Folder(origin) if isinstance(origin, Path) else origin
        self._first = behaviours
        self._pace, self._delay_s = Pace(rate_bytes_s), delay_s
        self._behaviours: tuple[Behaviour, ...] = ()
        self._numbers: Counter[Behaviour] = Counter()
        self._stats = Stats()
        self._port = 0
        self._listener: socket.socket | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._heads: deque[Request] = deque(maxlen=_REMEMBERED)

    @classmethod
    def before(cls, url: str, *behaviours: Behaviour) -> FaultServer:
        """A server that asks the one at `url`."""
        return cls(Upstream(url), *behaviours)

    def __enter__(self) -> FaultServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-server", daemon=True)
        self._thread.start()
        self._listen()
        self.play(*self._first)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where it listens, on loopback."""
        return f"http://127.0.0.1:{self._port}"

    def play(self, *behaviours: Behaviour) -> None:
        """From now on these, and no others. Of those that strike a request, the first is played."""
        self._run(self._play(behaviours))

    def stats(self) -> Stats:
        """What it did so far, a copy."""
        now = self._stats
        return Stats(now.requests, now.connections, now.bytes_sent, Counter(now.played))

    @property
    def requests(self) -> list[Request]:
        """The heads of the last 100,000 requests."""
        return list(self._heads)

    # -- in the loop

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def _listen(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self._port))
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]

    async def _play(self, behaviours: tuple[Behaviour, ...]) -> None:
        special = {behaviour.variant for behaviour in behaviours} & set(WHOLE_SERVER)
        if special:  # before it is played: a request under way would meet a variant that no answer has
            self._deaf()
            await self._end(list(self._serving))
        self._behaviours, self._numbers = behaviours, Counter()
        if special:
            if "refused" in special and self._listener is not None:
                self._listener.close()
                self._listener = None
            return
        if self._listener is None:
            self._listen()
        assert self._listener is not None
        self._loop.add_reader(self._listener, self._accept, self._listener)

    @staticmethod
    async def _end(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop(self) -> None:
        self._deaf()
        await self._end(list(self._serving))
        if self._listener is not None:
            self._listener.close()

    def _accept(self, listening: socket.socket) -> None:
        # A reader of the loop, and no `sock_accept`: that loses a connection when it is cancelled at the wrong moment.
        try:
            sock, _ = listening.accept()
        except OSError:
            return  # gone again
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stats.connections += 1
        task = self._loop.create_task(self._serve(sock))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(partial(_close, sock))  # a task that never began did not

    def _deaf(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)

    async def _serve(self, sock: socket.socket) -> None:
        line = Line(sock, self._pace)
        with sock, suppress(OSError):
            alive = True
            while alive and (request := await line.request()) is not None:
                before = line.sent
                try:
                    alive = await self._answer(line, request)
                finally:
                    self._stats.bytes_sent += line.sent - before

    async def _answer(self, line: Line, request: Request) -> bool:
        if request.path == STATS_PATH:
            body = json.dumps(self._stats.as_dict()).encode()
            return await answer(Turn(line, request, Reply(200, (body,)), HONEST))
        self._heads.append(request)
        self._stats.requests += 1
        behaviour = self._choose(request.path)
        self._stats.played[f"{behaviour.verdict}/{behaviour.variant}"] += 1
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        reply = await self._origin.answer(request)
        return await answer(Turn(line, request, reply, behaviour))

    def _choose(self, path: str) -> Behaviour:
        chosen = HONEST
        for behaviour in self._behaviours:
            if behaviour.fits(path):
                number = self._numbers[behaviour]
                self._numbers[behaviour] += 1
                if chosen is HONEST and behaviour.strikes(number):
                    chosen = behaviour
        return chosen


def _close(sock: socket.socket, _: object) -> None:
    sock.close()


def origin_of(text: str) -> Path | Origin:
    """A folder, or another server by its URL."""
    return Upstream(text) if urlsplit(text).scheme in ("http", "https") else Path(text)
