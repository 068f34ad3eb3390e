"""UnixFS files in shapes that we never write, by an encoder that shares nothing with the code under test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from blake3 import blake3
from hypothesis import strategies as st

from holdfast.storage.cid import CID

_HASHES = {
    0x12: lambda data: hashlib.sha256(data).digest(),
    0x13: lambda data: hashlib.sha512(data).digest(),
    0x1E: lambda data: blake3(data).digest(),
    0x00: lambda data: data,
}


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number * 8) + _varint(value)
    return _varint(number * 8 + 2) + _varint(len(value)) + value


@dataclass
class OddTree:
    """A file: its bytes, its blocks by binary CID, its root."""

    data: bytes = b""
    blocks: dict[bytes, bytes] = field(default_factory=dict)
    root: CID = field(default_factory=lambda: CID.of(0x55, b""))

    def get(self, cid: CID) -> bytes:
        return cid.digest if cid.hash_code == 0 else self.blocks[bytes(cid)]

    def add(self, codec: int, data: bytes, code: int = 0x12, *, version: int = 1) -> bytes:
        if code == 0 and len(data) > 100:
            code = 0x12
        digest = _HASHES[code](data)
        name = _varint(code) + _varint(len(digest)) + digest
        if version == 1 or codec != 0x70 or code != 0x12:
            name = _varint(1) + _varint(codec) + name
        self.blocks[name] = data
        return name

    def node(
        self, own: bytes | None, children: list[tuple[bytes, int]], *, kind: int = 2, version: int = 1,
        code: int = 0x12, links_first: bool = True, packed: bool = False, extra: bytes = b"",
    ) -> tuple[bytes, int]:  # fmt: skip
        """A file node over `children` (CID, bytes); returns its CID and how many bytes of the file it holds."""
        total = len(own or b"") + sum(size for _, size in children)
        about = _field(1, kind) + (_field(2, own) if own is not None else b"") + _field(3, total)
        if packed and children:
            about += _field(4, b"".join(_varint(size) for _, size in children))
        else:
            about += b"".join(_field(4, size) for _, size in children)
        links = b"".join(_field(2, _field(1, cid) + _field(2, b"") + _field(3, size)) for cid, size in children)
        data = links + _field(1, about + extra) if links_first else _field(1, about + extra) + links
        return self.add(0x70, data, code, version=version), total


@st.composite
def shapes(draw: st.DrawFn) -> OddTree:
    """Any tree: levels of nodes over nodes or leaves of any kind, unevenly, some with bytes of their own."""
    tree = OddTree()
    version = draw(st.sampled_from([0, 1]))
    code = draw(st.sampled_from([0x12, 0x12, 0x13, 0x1E]))
    counter = 0

    def piece(most: int) -> bytes:
        nonlocal counter
        counter += 1
        data = hashlib.sha256(b"%d" % counter).digest()[: draw(st.integers(0, most))]
        tree.data += data
        return data

    def build(depth: int) -> tuple[bytes, int]:
        kind = draw(st.sampled_from(["raw", "raw", "file", "rawnode", "inline"] + ["inner"] * (3 if depth < 4 else 0)))
        if kind == "raw":
            data = piece(20)
            return tree.add(0x55, data, code), len(data)
        if kind == "inline":
            data = piece(20)
            return tree.add(0x55, data, 0), len(data)
        if kind in ("file", "rawnode"):
            return tree.node(piece(20), [], kind=2 if kind == "file" else 0, version=version, code=code)
        own = piece(8) if draw(st.booleans()) else None  # comes before what the children hold
        children = [build(depth + 1) for _ in range(draw(st.integers(0, 5)))]
        extra = draw(st.sampled_from([b"", _field(7, 0o644) + _field(8, _field(1, 1_700_000_000))]))
        return tree.node(
            own, children, version=version, code=code, links_first=draw(st.booleans()), packed=draw(st.booleans()),
            extra=extra,
        )  # fmt: skip

    tree.root = CID.from_bytes(build(0)[0])
    return tree
