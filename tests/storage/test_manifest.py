"""Nothing is written that the same code would not read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.storage.canonical import canonical_json
from holdfast.storage.cid import CID
from holdfast.storage.errors import ConfigError, FormatError, UnsupportedError
from holdfast.storage.limits import MAX_HEAD_BYTES, MAX_MANIFEST_PAGE_BYTES
from holdfast.storage.manifest import (
    PAGE_SHARDS,
    Head,
    OrderHints,
    Partition,
    Shard,
    ShardPage,
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


def test_orders_of_both_versions_are_read_and_those_of_newer_ones_refused_by_name() -> None:
    first = head(order=OrderHints(version=1, run=2, block=3, lanes=64))
    second = head(order=OrderHints(version=2, run=2, block=3, lanes=64, stretch=5))
    for one in (first, second):
        assert decode_head(encode_head(one)) == one
    assert b"stretch" not in encode_head(first)
    document = json.loads(encode_head(second))
    with pytest.raises(UnsupportedError, match="an order of version 3, this holdfast reads up to 2") as caught:
        decode_head(canonical_json({**document, "order": {**document["order"], "version": 3}}))
    assert caught.value.hint == "upgrade holdfast"
    del document["order"]["stretch"]
    with pytest.raises(FormatError, match="an order of version 2 has a stretch"):
        decode_head(canonical_json(document))
    del document["order"]["version"]  # as of a head that does not say it
    assert decode_head(canonical_json(document)).order == first.order


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


def page_of(*lines: bytes) -> ShardPage:
    return decode_page(b"\n".join(lines) + b"\n", 0, head(samples=2, shards=2, pages=(0,)))


def test_a_line_is_refused_when_it_is_read_and_the_others_stay() -> None:
    first, second = (encode_pages([shard])[0].strip() for shard in shards(20, 2))
    for bad, message in (
        (second.replace(b"data/", b"../x/"), "not a plain relative path"),
        (second.replace(b"bafkrei", b"nothing"), "cid"),
        (second.replace(b'"path"', b'"path":7,"path"').replace(b"data/", b"/ta/"), "relative path"),
    ):
        page = page_of(first, bad)
        assert page[0].samples == 1
        for number in (1, -1):
            with pytest.raises(FormatError, match=message):
                page[number]


def test_what_a_page_says_at_once_its_lines_must_say_too() -> None:
    """Read as one text, lines may borrow from each other; read alone they may not."""
    first, second = (encode_pages([shard])[0].strip() for shard in shards(20, 2))
    with pytest.raises(FormatError, match="not JSON"):
        page_of(first + b"," + second, b"")
    with pytest.raises(FormatError, match="not JSON"):
        page_of(first + b'{"x":"', b'"}' + second)
    page = page_of(first + b"," + second[:-1] + b',"x":"', b'"}')  # two values, two lines
    for number in (0, 1):
        with pytest.raises(FormatError):
            page[number]


def test_a_whole_line_in_the_place_of_another_is_refused() -> None:
    lines = [encode_pages([shard])[0].strip() for shard in shards(20, 3)]
    last = [b'{"first_sample":3,"samples":1,"bytes":2,"x":"', b'"}']  # makes up for the two values of the first line
    pages = b"\n".join([lines[0] + b"," + lines[1], lines[2], *last])
    page = decode_page(pages, 0, head(samples=4, shards=4, pages=(0,)))
    with pytest.raises(FormatError, match="line 2: data/.* has 1 samples from 2 on, expected 1 from 1 on"):
        page[1]


def test_samples_that_do_not_follow_each_other_are_refused() -> None:
    first, second = (encode_pages([shard])[0].strip() for shard in shards(20, 2))
    with pytest.raises(FormatError, match="line 2 starts at sample 0, expected 1"):
        page_of(first, first)
    with pytest.raises(FormatError, match="ends at sample 3, expected 2"):
        page_of(first, second.replace(b'"samples":1', b'"samples":2'))
    for lie in (b"-1", b"9223372036854775808", b'"1"', b"1.5", b"true"):
        with pytest.raises(FormatError, match="samples"):
            page_of(first, second.replace(b'"samples":1', b'"samples":' + lie))
