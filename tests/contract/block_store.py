"""What every `BlockStore` promises. A subclass makes the store and says how its disk rots."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from holdfast.storage.blocks.block import Block
from holdfast.storage.blocks.store import BlockStore
from holdfast.storage.cid import CID, DAG_PB, RAW
from holdfast.storage.errors import BlockMissingError, FormatError, HashMismatchError, IntegrityError, StoreError
from holdfast.storage.limits import MAX_BLOCK_BYTES

IDENTITY_CID = CID.parse("bafkqablimvwgy3y")  # "hello", in the CID itself


def block(text: bytes, codec: int = RAW) -> Block:
    return Block.encode(codec, text)


class BlockStoreContract:
    """Run by each implementation."""

    @pytest.fixture
    def store(self, tmp_path: Any) -> Any:
        raise NotImplementedError

    def rot(self, store: Any, cid: CID) -> None:
        """Change the bytes that the store keeps for `cid`, behind its back."""
        raise NotImplementedError

    def kept(self, store: Any) -> object:
        """Everything that the store keeps, to compare."""
        raise NotImplementedError

    def test_what_was_put_is_got(self, store: BlockStore) -> None:
        for data in (b"", b"x", random.Random(1).randbytes(70_000), bytes(MAX_BLOCK_BYTES)):
            made = block(data)
            assert not store.has(made.cid)
            assert store.put(made.cid, data) == made
            assert store.has(made.cid)
            assert store.get(made.cid) == made

    def test_the_codec_does_not_matter(self, store: BlockStore) -> None:
        store.put(block(b"node", DAG_PB).cid, b"node")
        assert store.has(block(b"node").cid)
        assert store.get(block(b"node").cid) == block(b"node")

    def test_put_is_idempotent(self, store: BlockStore) -> None:
        made = block(b"twice")
        store.put(made.cid, made.data)
        before = self.kept(store)
        store.put(made.cid, made.data)
        assert self.kept(store) == before
        assert [cid for cid in store.cids() if cid.multihash == made.cid.multihash] == [made.cid]

    def test_wrong_bytes_are_refused_before_anything_is_written(self, store: BlockStore) -> None:
        before, cid = self.kept(store), block(b"right").cid
        with pytest.raises(HashMismatchError):
            store.put(cid, b"wrong")
        assert self.kept(store) == before
        assert not store.has(cid)

    def test_more_than_two_mib_are_refused_before_anything_is_written(self, store: BlockStore) -> None:
        before, data = self.kept(store), bytes(MAX_BLOCK_BYTES + 1)
        with pytest.raises(FormatError, match="more than"):
            store.put(CID.of(RAW, data), data)
        assert self.kept(store) == before

    def test_a_missing_block_is_a_typed_error_that_names_it(self, store: BlockStore) -> None:
        cid = block(b"nowhere").cid
        assert not store.has(cid)
        with pytest.raises(BlockMissingError, match=cid.short().split("…")[0]):
            store.get(cid)

    def test_rotten_bytes_are_an_error_every_time_and_never_an_answer(self, store: BlockStore) -> None:
        made = block(b"will rot")
        store.put(made.cid, made.data)
        assert store.get(made.cid) == made
        self.rot(store, made.cid)
        for _ in range(2):
            with pytest.raises((IntegrityError, StoreError)):
                store.get(made.cid)

    def test_putting_it_again_heals_what_rotted(self, store: BlockStore) -> None:
        made = block(b"will rot and heal")
        store.put(made.cid, made.data)
        self.rot(store, made.cid)
        store.put(made.cid, made.data)
        assert store.get(made.cid) == made

    def test_an_identity_cid_is_its_own_block(self, store: BlockStore) -> None:
        assert store.has(IDENTITY_CID)
        assert store.get(IDENTITY_CID).data == b"hello"
        before = self.kept(store)
        assert store.put(IDENTITY_CID, b"hello").data == b"hello"
        assert self.kept(store) == before, "there is nothing to keep"
        with pytest.raises(HashMismatchError):
            store.put(IDENTITY_CID, b"other")

    def test_cids_lists_what_was_put_as_raw(self, store: BlockStore) -> None:
        made = {block(bytes([n]), DAG_PB if n % 2 else RAW).cid: bytes([n]) for n in range(20)}
        for cid, data in made.items():
            store.put(cid, data)
        listed = list(store.cids())
        assert len(listed) == len(set(listed)) == 20
        assert {cid.multihash for cid in listed} == {cid.multihash for cid in made}
        assert {(cid.version, cid.codec) for cid in listed} == {(1, RAW)}

    def test_threads_put_and_get_the_same_blocks_at_once(self, store: BlockStore) -> None:
        blocks = [block(random.Random(n).randbytes(2000)) for n in range(30)]
        barrier, failures = threading.Barrier(8), []

        def work(seed: int) -> None:
            mine = random.Random(seed).sample(blocks, len(blocks))
            barrier.wait()
            try:
                for item in mine:
                    store.put(item.cid, item.data)
                    assert store.has(item.cid)
                    assert store.get(item.cid) == item
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert {cid.multihash for cid in store.cids()} == {item.cid.multihash for item in blocks}
