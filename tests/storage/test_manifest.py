"""Nothing is written that the same code would not read."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.storage.cid import CID
from holdfast.storage.errors import ConfigError
from holdfast.storage.limits import MAX_HEAD_BYTES, MAX_MANIFEST_PAGE_BYTES
from holdfast.storage.manifest import (
    PAGE_SHARDS,
    Head,
    OrderHints,
    Partition,
    Shard,
    check_page_names,
    decode_head,
    decode_page,
    encode_head,
    encode_pages,
)

CID_TEXT = str(CID.parse("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"))


def head(**changes: Any) -> Head:
    order = OrderHints(run=1, block=1, lanes=1)
    about: dict[str, Any] = {"shard_format": "tokens", "samples": 0, "shards": 0, "bytes": 0, "leaf_size": 16384}
    return Head(**about | {"order": order} | changes)


def shards(name_bytes: int, count: int = PAGE_SHARDS) -> list[Shard]:
    segment = "d" * 200 + "/"
    tail = (segment * (name_bytes // len(segment) + 1))[: name_bytes - 5]
    return [
        Shard(path=f"data/{tail}{at:05d}", cid=CID_TEXT, bytes=2, samples=1, first_sample=at) for at in range(count)
    ]


def test_a_head_is_written_up_to_the_limit_of_its_readers_and_no_byte_further() -> None:
    room = MAX_HEAD_BYTES - len(encode_head(head()))
    full = head(title="x" * room)
    assert decode_head(encode_head(full)) == full
    with pytest.raises(ConfigError, match=r"dataset\.json would have 1048577 bytes") as caught:
        encode_head(head(title="x" * (room + 1)))
    assert caught.value.hint


def test_twenty_thousand_partitions_are_refused_not_written() -> None:
    many = tuple(Partition(name=f"folder-{at:05d}", first_sample=at, samples=1) for at in range(20_000))
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        encode_head(head(partitions=many))


def test_a_page_that_readers_refuse_is_not_written() -> None:
    small = shards(500)
    (page,) = encode_pages(small)
    about = head(samples=len(small), shards=len(small), pages=(0,))
    assert list(decode_page(page, 0, about)) == small
    assert len(page) < MAX_MANIFEST_PAGE_BYTES
    with pytest.raises(ConfigError, match=r"manifest/00000\.jsonl would have") as caught:
        encode_pages(shards(2000))
    assert caught.value.hint


def test_names_that_overfill_a_page_are_known_before_anything_is_hashed() -> None:
    names = [shard.path for shard in shards(1500)]
    check_page_names(names, indexed=False)
    with pytest.raises(ConfigError, match=r"manifest/00000\.jsonl"):
        check_page_names(names, indexed=True)
    with pytest.raises(ConfigError, match=r"manifest/00001\.jsonl"):
        check_page_names(["short"] * PAGE_SHARDS + [shard.path for shard in shards(2100)], indexed=False)
