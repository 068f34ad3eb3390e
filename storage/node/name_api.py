"""Names at a peer: `GET|PUT /routing/v1/ipns/{name}`.

Specification: specs.ipfs.tech/routing/http-routing-v1, "IPNS API". Anybody may read; to write takes what a pin takes
(`Access`), for else anybody could fill this disk with names of their own. A record replaces older ones only.
"""

from __future__ import annotations

import hashlib
import time

from aiohttp import web

from ..errors import ConfigError, FormatError, HoldfastError, QuotaError, SignatureError
from ..names.choice import rank
from ..names.http_place import RECORD_TYPE
from ..names.known import KnownNames
from ..names.moment import S, format_moment
from ..names.name import Name
from ..names.record import MAX_RECORD_BYTES, Record, read_record
from .access import Access
from .headers import CORS
from .reads import Reads
from .refusals import LOG

_ROUTE = "/routing/v1/ipns/{name}"
_ABSENT_S = 15  # how long a client may remember that there is none
_CORS = CORS | {"Access-Control-Allow-Methods": "GET, PUT, OPTIONS"}
MAX_NAMES = 100_000  # 1 GB of the longest records; a peer is asked by those who have its token


class NameApi:
    """Routes over the records that a peer keeps."""

    def __init__(self, known: KnownNames, reads: Reads, access: Access) -> None:
        self._known, self._reads, self._access = known, reads, access

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        return [web.get(_ROUTE, self._get), web.put(_ROUTE, self._put), web.options(_ROUTE, self._options)]

    async def _options(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=_CORS)

    async def _get(self, request: web.Request) -> web.Response:
        try:
            record = await self._reads.run(self._known.get, Name.parse(request.match_info["name"]))
        except ConfigError as error:
            return _say(400, error.message)
        except HoldfastError as error:
            return _broken(error)
        left_s = 0 if record is None else (record.validity_ns - time.time_ns()) // S
        if record is None or left_s <= 0:
            return _say(
                404, "no record of this name is here that counts now", {"Cache-Control": f"max-age={_ABSENT_S}"}
            )
        etag = f'"{hashlib.sha256(record.data).hexdigest()}"'
        headers = {"Cache-Control": f"public, max-age={min(record.ttl_ns // S, left_s)}", "ETag": etag}
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=_CORS | headers)
        return web.Response(body=record.data, content_type=RECORD_TYPE, headers=_CORS | headers)

    async def _put(self, request: web.Request) -> web.Response:
        if refusal := self._access.refusal(request):
            return _say(401, refusal)
        if request.content_type != RECORD_TYPE:
            return _say(406, f"send an IPNS record, with Content-Type: {RECORD_TYPE}")
        try:
            data = await request.content.read(MAX_RECORD_BYTES + 1)
            while len(data) <= MAX_RECORD_BYTES and (more := await request.content.read(MAX_RECORD_BYTES + 1)):
                data += more
            record = read_record(Name.parse(request.match_info["name"]), data)
        except (ConfigError, FormatError, SignatureError) as error:
            return _say(400, error.message)
        try:
            return await self._reads.run(self._take, record)
        except QuotaError as error:
            return _say(507, error.message)
        except HoldfastError as error:
            return _broken(error)

    def _take(self, record: Record) -> web.Response:
        if record.validity_ns <= time.time_ns():
            return _say(400, "the record ended already")
        before = self._known.note(record)
        if before is not None and rank(before) > rank(record):
            here, ends = before.sequence, format_moment(before.validity_ns)
            return _say(409, f"a newer record is here: sequence {here}, until {ends}; this one has {record.sequence}")
        return _say(200, "kept")


def _say(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, text=f"{text}\n", headers={"Cache-Control": "no-store"} | _CORS | (headers or {})
    )


def _broken(error: HoldfastError) -> web.Response:
    LOG.error("%s", error.message)
    return _say(500, "this peer cannot use its disk")
