"""IPIP-0499: the profile `unixfs-v1-2025` gives the CIDs that were published for it."""

from __future__ import annotations

import hashlib
from itertools import islice

import pytest

from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.build import Entry, build_directory, build_file, build_tree

from .blocks import entry, keystream

MIB = 1 << 20
ALPHABET = "abcdefghijklmnopqrstuvwxyz01234567890-_"


def digests_of(seed: str, size: int) -> bytes:
    return b"".join(hashlib.sha256(chunk).digest() for chunk in keystream(seed, size))


def test_hello_world_is_its_own_leaf() -> None:
    layout, target, blocks = build_file(11, MIB, hashlib.sha256(b"hello world").digest())
    assert str(layout.cid) == "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    assert target == Entry(layout.cid, 11)
    assert blocks == []


@pytest.mark.parametrize(
    ("size", "cid"),
    [
        (MIB, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"),
        (MIB + 1, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"),
    ],
)
def test_one_leaf_and_one_byte_more(size: int, cid: str) -> None:
    assert str(build_file(size, MIB, digests_of("chunk-v1-seed", size))[0].cid) == cid


def test_one_gibibyte_and_one_byte_more() -> None:
    digests = digests_of("v1-2025-seed", 1024 * MIB + 1)
    whole = build_file(1024 * MIB, MIB, digests[: 1024 * 32])
    over = build_file(1024 * MIB + 1, MIB, digests)
    assert str(whole[0].cid) == "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"
    assert str(over[0].cid) == "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"
    assert [len(whole[2]), len(over[2])] == [1, 3]
    assert whole[1].tsize == 1024 * MIB + sum(len(block.data) for block in whole[2])
    assert over[1].tsize == 1024 * MIB + 1 + sum(len(block.data) for block in over[2])


def hamt_names(last: int) -> list[str]:
    stream = iter(b"".join(keystream("hamt-unixfs-v1-2025", 4765 * 11 + last)))
    lengths = [11] * 4765 + [last]
    return ["".join(ALPHABET[byte % 39] for byte in islice(stream, length)) for length in lengths]


@pytest.mark.parametrize(
    ("last", "cid", "basic"),
    [
        (21, "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4", True),
        (22, "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu", False),
    ],
)
def test_directories_become_hamts_above_256_kib_not_at_it(last: int, cid: str, basic: bool) -> None:
    files = {name: entry(b"x") for name in hamt_names(last)}
    assert len(files) == 4766
    target, blocks = build_directory(files)
    assert str(target.cid) == cid
    assert blocks[-1].cid == target.cid
    assert (len(blocks) == 1) is basic
    assert not basic or len(blocks[0].data) == 262_144
    assert target.tsize == len(files) + sum(len(block.data) for block in blocks)


def test_the_empty_directory_and_the_empty_file() -> None:
    assert str(build_directory({})[0].cid) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    assert build_tree({}) == build_directory({})
    assert build_file(0, MIB, hashlib.sha256(b"").digest())[0].cid == CID.of(RAW, b"")


def test_a_million_leaves_are_built_quickly_and_a_lone_tail_leaf_gets_full_depth() -> None:
    leaves = MIB + 1
    layout, _, blocks = build_file(leaves * 16384, 16384, bytes(32 * leaves))
    assert layout.leaves == leaves
    # 1,024 full nodes and one for the tail; then one full node and one for the tail; then the root
    assert len(blocks) == 1025 + 2 + 1
