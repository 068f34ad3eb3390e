"""A DAG as a CARv1: depth first, each block once."""

from __future__ import annotations

from aiohttp import web

from ..blocks.disk import DiskStore, reader
from ..cid import DAG_PB, RAW
from ..dag.steps import codec_name
from ..errors import HoldfastError
from .car_stream import Batches, car_parts
from .found import find
from .headers import download_as, good_headers
from .reads import Reads
from .refusals import LOG, Refusals
from .sending import cut, send_parts
from .wanted import CAR_TYPE, RefusedError, Wanted

_TYPE = f"{CAR_TYPE};version=1;order=dfs;dups=n"


async def answer_car(
    request: web.Request, wanted: Wanted, store: DiskStore, reads: Reads, refusals: Refusals
) -> web.StreamResponse:
    """Everything below the target that `wanted.scope` names. A block that is missing midway cuts the connection."""
    found = await reads.run(find, wanted.root, wanted.segments, reader(store))
    if found.cid.codec not in (RAW, DAG_PB) and wanted.scope != "block":
        raise RefusedError(406, f"{codec_name(found.cid.codec)} blocks are served one by one: format=raw")
    batches = Batches(car_parts(store, found, wanted.scope))
    batch = await reads.run(batches.next)
    headers = good_headers(wanted.path, found.roots, f'W/"{found.cid}.car.{wanted.scope}.{len(found.trail)}"')
    headers |= {"Content-Type": _TYPE, "Accept-Ranges": "none"} | download_as(f"{wanted.root}.car")
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        await send_parts(request, response, batch, lambda: reads.run(batches.next))
    except HoldfastError as error:
        refusals.name(error)
        LOG.debug("a CAR of %s was cut: %s", found.cid, error.message)
        cut(request)
    return response
