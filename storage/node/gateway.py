"""The trustless gateway, and plain files for browsers: `GET|HEAD /ipfs/{cid}[/path]`.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md. Nothing is fetched from elsewhere for a reader:
what is not in the store is a 404 (P2P appendix: gateways SHOULD NOT recurse).
"""

from __future__ import annotations

from aiohttp import web

from ..blocks.disk import reader
from ..cid import CID
from ..errors import HoldfastError
from .car_answer import answer_car
from .directory_answer import answer_directory
from .file_answer import answer_file
from .found import find
from .headers import CORS
from .raw_answer import answer_raw
from .refused import RefusedError
from .serving import Serving
from .tally import FORMAT
from .wanted import Format, Wanted, read_wanted


class Gateway:
    """Routes over one store."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        return [web.get("/ipfs/{path:.+}", self._get), web.options("/ipfs/{path:.+}", self._options)]

    async def _options(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=CORS)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        try:
            accept = ",".join(request.headers.getall("Accept", []))
            caching = ",".join(request.headers.getall("Cache-Control", []))
            wanted = read_wanted(request.rel_url.raw_path, request.query, accept, caching)
            FORMAT.set(wanted.format.value)
            if wanted.only_if_cached and not await self._serving.reads.run(self._serving.store.has, wanted.root):
                raise RefusedError(412, "the root is not here, and the request says only-if-cached")
            if wanted.format is Format.RAW:
                return await answer_raw(request, wanted, self._serving)
            if wanted.format is Format.CAR:
                return await answer_car(request, wanted, self._serving)
            return await self._plain(request, wanted)
        except (HoldfastError, RefusedError) as error:
            return self._serving.refusals.answer(error)

    async def _plain(self, request: web.Request, wanted: Wanted) -> web.StreamResponse:
        cid, store, read = wanted.root, self._serving.store, self._serving.reads.run
        roots: tuple[CID, ...] = (cid,)
        file = None if wanted.segments else await read(store.open_file, cid)
        if file is None:
            found = await read(find, cid, wanted.segments, reader(store))
            cid, roots = found.cid, found.roots
            if found.kind == "directory":
                return await answer_directory(request, wanted, cid, roots, self._serving)
            if found.kind not in ("file", "raw"):
                raise RefusedError(406, f"this is a {found.kind}: ask for it with format=raw or format=car")
            file = await read(store.open_file, cid)
        return await answer_file(request, wanted, cid, roots, file, self._serving)
