"""The trustless gateway, and plain files for browsers: `GET|HEAD /ipfs/{cid}[/path]`.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md. Nothing is fetched from elsewhere for a reader:
what is not in the store is a 404 (P2P appendix: gateways SHOULD NOT recurse).
"""

from __future__ import annotations

from aiohttp import web

from ..blocks.disk import DiskStore, reader
from ..cid import CID
from ..errors import HoldfastError
from .car_answer import answer_car
from .directory_answer import answer_directory
from .file_answer import answer_file
from .found import find
from .headers import CORS
from .raw_answer import answer_raw
from .reads import Reads
from .refusals import Refusals
from .wanted import Format, RefusedError, Wanted, read_wanted


class Gateway:
    """Routes over one store."""

    def __init__(self, store: DiskStore, reads: Reads) -> None:
        self._store, self._reads, self._refusals = store, reads, Refusals()

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        return [web.get("/ipfs/{path:.+}", self._get), web.options("/ipfs/{path:.+}", self._options)]

    async def _options(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=CORS)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = read_wanted(request.rel_url.raw_path, request.query, request.headers.get("Accept", ""))
            if wanted.format is Format.RAW:
                return await answer_raw(request, wanted, self._store, self._reads)
            if wanted.format is Format.CAR:
                return await answer_car(request, wanted, self._store, self._reads, self._refusals)
            return await self._plain(request, wanted)
        except (HoldfastError, RefusedError) as error:
            return self._refusals.answer(error)

    async def _plain(self, request: web.Request, wanted: Wanted) -> web.StreamResponse:
        cid, store = wanted.root, self._store
        roots: tuple[CID, ...] = (cid,)
        file = None if wanted.segments else await self._reads.run(store.open_file, cid)
        if file is None:
            found = await self._reads.run(find, cid, wanted.segments, reader(store))
            cid, roots = found.cid, found.roots
            if found.kind == "directory":
                return await answer_directory(wanted, cid, roots, store, self._reads)
            if found.kind not in ("file", "raw"):
                raise RefusedError(406, f"this is a {found.kind}: ask for it with format=raw or format=car")
            file = await self._reads.run(store.open_file, cid)
        return await answer_file(request, wanted, cid, roots, file, store, self._reads, self._refusals)
