"""A DAG as a CARv1: depth first, each block once or whenever it is met."""

from __future__ import annotations

import hashlib

from aiohttp import web

from ..blocks.disk import reader
from ..cid import CID, DAG_CBOR, DAG_PB, RAW
from ..dag.steps import codec_name
from ..errors import HoldfastError
from .car_stream import Batches, car_parts
from .conditional import has_it, not_modified
from .found import Found, find
from .headers import download_as, good_headers
from .refusals import LOG
from .refused import RefusedError
from .sending import cut
from .serving import Serving
from .wanted import Wanted


async def answer_car(request: web.Request, wanted: Wanted, serving: Serving) -> web.StreamResponse:
    """What the parameters name below the target. A block that is missing midway cuts the connection.

    A path may end at a value inside a dag-cbor block: then the blocks that prove it are the answer, and with
    dag-scope=all what the value links to.
    """
    found = await serving.reads.run(find, wanted.root, wanted.segments, reader(serving.store))
    _check_codec(found.cid, wanted)
    etag = _etag(found, wanted)
    headers = good_headers(wanted, found.roots, etag)
    if has_it(request, etag) and await serving.reads.run(serving.store.has, found.cid):
        return not_modified(headers)
    parts = car_parts(serving.store, found, wanted)
    first = await serving.reads.run(next, parts)
    headers |= {"Content-Type": wanted.car.content_type, "Accept-Ranges": "none"}
    response = web.StreamResponse(headers=headers | download_as(wanted.filename or f"{wanted.root}.car"))
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    batches = Batches(parts)
    try:
        await serving.sender.send_parts(request, response, first, lambda: serving.reads.run(batches.next))
    except HoldfastError as error:
        serving.refusals.name(error)
        LOG.debug("a CAR of %s was cut: %s", found.cid, error.message)
        cut(request, error.message)
    return response


def _check_codec(cid: CID, wanted: Wanted) -> None:
    known = cid.codec in (RAW, DAG_PB, DAG_CBOR)
    if not known and wanted.scope == "all":
        raise RefusedError(406, f"the links of {codec_name(cid.codec)} are not read: dag-scope=block or entity")


def _etag(found: Found, wanted: Wanted) -> str:
    """Weak: another version of holdfast may frame the same blocks otherwise. Different for everything asked for."""
    asked = repr((found.roots, found.trail, wanted.segments, wanted.scope, str(wanted.entity), wanted.car))
    return f'W/"{found.cid}.car.{hashlib.sha256(asked.encode()).hexdigest()[:16]}"'
