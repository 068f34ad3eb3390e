"""`Doorkeeper`: what happens around every request: limits, deadlines, counting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from .clients import client_of
from .connection import Connection
from .crowd import BusyError, Crowd
from .refusals import busy
from .sending import Sender
from .tally import FORMAT

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_UNLIMITED = ("/metrics",)  # wanted most when everything else is refused; guarded otherwise
_CUT = "cut"


class Doorkeeper:
    """A middleware for the application of one peer."""

    def __init__(self, crowd: Crowd, sender: Sender) -> None:
        self._crowd, self._sender = crowd, sender

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one request by `handler`, within the limits."""
        protocol = request.transport.get_protocol() if request.transport is not None else None
        connection = protocol if isinstance(protocol, Connection) else None
        if connection is not None:
            connection.begin()
        status = _CUT
        try:
            response = await self._limited(request, handler)
            status = str(response.status)
            return response
        except web.HTTPException as error:
            status = str(error.status)
            raise
        except ConnectionResetError:  # the client is gone: nobody is left to be answered, and it is no error of ours
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)
        finally:
            self._crowd.tally.requests[(FORMAT.get(), status)] += 1
            if connection is not None:
                connection.end()

    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _UNLIMITED:
            return await handler(request)
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
        client = client_of(request.remote or "", forwarded, self._crowd.limits.trusted_proxies)
        try:
            async with self._crowd.request(client):
                response = await handler(request)
                if await response.prepare(request) is not None:  # its end, too, in time and while it has a slot
                    await self._sender.in_time(request, response.write_eof())
                return response
        except BusyError as error:
            return busy(error)
