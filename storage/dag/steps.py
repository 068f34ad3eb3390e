"""Walks without IO: generators that ask for blocks and are handed verified bytes, and two drivers for them.

A walk yields the CID of a block, is sent the bytes that were verified against it, and returns its result.
It never yields an identity CID: those carry their own bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

from ..cid import CID, CODECS, DAG_CBOR, DAG_PB, IDENTITY, RAW
from ..errors import UnsupportedError
from . import dagcbor, dagpb, unixfs
from .dagpb import PBNode
from .unixfs import UnixFSNode

T = TypeVar("T")
Steps = Generator[CID, bytes, T]


def run(steps: Steps[T], get: Callable[[CID], bytes]) -> T:
    """Drive a walk to its end; `get` returns the verified bytes of a block."""
    try:
        cid = next(steps)
        while True:
            cid = steps.send(get(cid))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


async def arun(steps: Steps[T], get: Callable[[CID], Awaitable[bytes]]) -> T:
    """`run` for a `get` that is awaited. Cancelling it closes the walk."""
    try:
        cid = next(steps)
        while True:
            cid = steps.send(await get(cid))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


def load(cid: CID) -> Steps[bytes]:
    """The bytes of a block."""
    if cid.hash_code == IDENTITY:
        return cid.digest
    data = yield cid
    return data


def load_node(cid: CID) -> Steps[tuple[PBNode, UnixFSNode]]:
    """A dag-pb block and its UnixFS Data. Raises `UnsupportedError` for another codec or for no Data."""
    if cid.codec != DAG_PB:
        raise UnsupportedError(f"{cid.short()} is {codec_name(cid.codec)}, not a UnixFS node")
    node = dagpb.decode((yield from load(cid)))
    if node.data is None:
        raise UnsupportedError(f"{cid.short()} is a dag-pb node without UnixFS data")
    return node, unixfs.decode(node.data)


def children(codec: int, data: bytes) -> list[CID]:
    """The links of a block in order; a raw block has none. `UnsupportedError` unless raw, dag-pb or dag-cbor."""
    if codec == RAW:
        return []
    if codec == DAG_CBOR:
        return dagcbor.links(data)
    if codec != DAG_PB:
        raise UnsupportedError(f"links of a {codec_name(codec)} block are not read")
    return [link.cid for link in dagpb.decode(data).links]


def codec_name(codec: int) -> str:
    """A codec for messages."""
    return CODECS.get(codec, f"codec 0x{codec:x}")
