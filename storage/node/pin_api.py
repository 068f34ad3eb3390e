"""The IPFS Pinning Service API v1.0.0: `/pins`. Frozen upstream, so implemented as it stands, nothing added."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from ..errors import HoldfastError
from ..pins.pin import format_time
from .access import Access
from .pin_body import PinBody
from .pin_query import PinQuery
from .pin_records import PinRecord, PinRecords
from .pinner import Pinner
from .reads import Reads
from .refusals import LOG

Handler = Callable[[web.Request], Awaitable[web.Response]]


class PinApi:
    """Routes over the pin records; the pinner does the work."""

    def __init__(
        self, records: PinRecords, pinner: Pinner, reads: Reads, access: Access, delegates: Sequence[str]
    ) -> None:
        self._records, self._pinner, self._reads = records, pinner, reads
        self._access, self._delegates = access, list(delegates)

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        return [
            web.get("/pins", self._checked(self._list), allow_head=False),
            web.post("/pins", self._checked(self._add)),
            web.get("/pins/{requestid}", self._checked(self._get), allow_head=False),
            web.post("/pins/{requestid}", self._checked(self._replace)),
            web.delete("/pins/{requestid}", self._checked(self._remove)),
        ]

    def _checked(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.Response:
            if refusal := self._access.refusal(request):
                return _error(401, "UNAUTHORIZED", refusal)
            try:
                return await handler(request)
            except web.HTTPRequestEntityTooLarge:
                return _error(413, "BAD_REQUEST", "the body is too long")
            except HoldfastError as error:
                LOG.error("%s", error.message)
                return _error(500, "INTERNAL_SERVER_ERROR", "this peer cannot use its disk")

        return check

    async def _list(self, request: web.Request) -> web.Response:
        try:
            query = PinQuery.parse(request.query)
        except ValueError as error:
            return _error(400, "BAD_REQUEST", str(error))
        count, records = await self._reads.run(self._records.find, query)
        return _json(200, {"count": count, "results": [self._status(record) for record in records]})

    async def _add(self, request: web.Request) -> web.Response:
        return await self._take(request, replaces=None)

    async def _replace(self, request: web.Request) -> web.Response:
        return await self._take(request, replaces=request.match_info["requestid"])

    async def _take(self, request: web.Request, replaces: str | None) -> web.Response:
        try:
            body = PinBody.parse(await request.read())
        except ValueError as error:
            return _error(400, "BAD_REQUEST", str(error))
        record = await self._reads.run(
            self._records.add, body.cid, body.name, body.origins, body.meta, replaces=replaces
        )
        if record is None:
            return _error(404, "NOT_FOUND", "there is no such pin")
        if replaces is not None:
            self._pinner.cancel(replaces)
        self._pinner.submit(record)  # durable by now: after a crash it is taken up again
        return _json(202, self._status(record))

    async def _get(self, request: web.Request) -> web.Response:
        record = await self._reads.run(self._records.get, request.match_info["requestid"])
        return _error(404, "NOT_FOUND", "there is no such pin") if record is None else _json(200, self._status(record))

    async def _remove(self, request: web.Request) -> web.Response:
        requestid = request.match_info["requestid"]
        if not await self._reads.run(self._records.remove, requestid):
            return _error(404, "NOT_FOUND", "there is no such pin")
        self._pinner.cancel(requestid)
        return web.Response(status=202)

    def _status(self, record: PinRecord) -> dict[str, object]:
        pin: dict[str, object] = {"cid": str(record.cid), "origins": list(record.origins), "meta": dict(record.meta)}
        if record.name:
            pin["name"] = record.name
        return {
            "requestid": record.requestid,
            "status": record.status.value,
            "created": format_time(record.created_us),
            "pin": pin,
            "delegates": self._delegates,
            "info": {**record.info, **self._pinner.progress(record.requestid)},
        }


def _json(status: int, body: dict[str, object]) -> web.Response:
    return web.json_response(body, status=status, headers={"Cache-Control": "no-store"})


def _error(status: int, reason: str, details: str) -> web.Response:
    return _json(status, {"error": {"reason": reason, "details": details}})
