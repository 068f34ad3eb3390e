"""Storing pieces, on a real EVM whose contracts check every signature: chosen, quoted, copied, paid for once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.configs.filecoin import Filecoin
from holdfast.configs.roster import Provider
from holdfast.pipeline.filecoin.journal import State
from holdfast.pipeline.filecoin.keep import refuse
from holdfast.storage.chain.abi import Function
from holdfast.storage.chain.typed_data import permission
from holdfast.storage.errors import ConfigError, PeerError, UnavailableError, WithheldError
from holdfast.storage.pieces.car_piece import piece_bytes
from support.chain.curio import CurioServer
from support.chain.deploy import USDFC, Onchain
from support.chain.stored import ENV, PIECES, dataset, journal, keeping, pace, times_paid

LOGIN = Function("login", ("address", "uint256", "bytes32[]", "string"))
SESSION_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"


def test_two_copies_the_second_fetched_from_the_first(
    onchain: Onchain, one: CurioServer, two: CurioServer, folder: Path
) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table(copies=2))
        planned = work.plan()
        assert planned.problems == ()
        assert [copy.provider.name for copy in planned.copies] == ["one", "two"]
        work.keep(planned.copies[0], None)
        work.keep(planned.copies[1], one.url)
        assert set(two.pulls.values()) == {f"{one.url}/piece/{piece.cid}" for piece in made.pieces}
        assert not any(method == "PUT" for method, _ in two.requests)
        for number, piece in enumerate(made.pieces):
            assert (
                one.pieces[str(piece.cid)] == two.pieces[str(piece.cid)] == b"".join(piece_bytes(store, made, number))
            )
        assert set(times_paid(onchain).values()) == {2}
        assert {row.state for row in journal(store, onchain).copies()} == {State.COMMITTED}
        again = work.plan()
        assert again.cost.pieces == again.cost.first_month == 0
        before = len(one.requests), len(two.requests)
        for copy in again.copies:
            work.keep(copy, None)
        assert (len(one.requests), len(two.requests)) == before, "nobody is asked for what the chain has"


def test_what_was_quoted_is_what_is_paid(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        before = work.plan()
        work.keep(before.copies[0], None)
        after = work.plan()
        spent = before.account.available - after.account.available
        assert spent <= before.cost.once + before.cost.lockup
        assert spent > (before.cost.once + before.cost.lockup) * 99 // 100, "a quote is no guess"
        assert one.stored(1)


def test_a_second_version_pays_for_its_new_pieces_only(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        some = replace(made, pieces=made.pieces[:1])
        work = keeping(store, some, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        work = keeping(store, made, onchain, onchain.table())
        planned = work.plan()
        assert planned.cost.pieces == PIECES - 1
        assert planned.copies[0].standing.data_set is not None, "the same data set is added to"
        found = work.keep(planned.copies[0], None)
        assert {where.data_set for where in found.active.values()} == {1}
        assert set(times_paid(onchain).values()) == {1}


def test_pieces_become_proven(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        for _ in range(2):
            one.begin(1)
            one.prove(1)
        onchain.anvil.mine(3)
        work.plan()
        assert {row.state for row in journal(store, onchain).copies()} == {State.PROVEN}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ceiling": "0.02"}, "the ceiling is 0.020000 USDFC"),
        ({"ceiling": None}, "sets no ceiling"),
        ({"key_env": None, "payer": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"}, "names no key"),
        ({"payer": "0x0000000000000000000000000000000000000001"}, "have to be deposited"),
    ],
)
def test_nothing_is_sent_or_signed_for_what_must_not_be_paid(
    onchain: Onchain, one: CurioServer, folder: Path, changes: dict[str, str | None], why: str
) -> None:
    with dataset(folder) as (store, _, made):
        planned = keeping(store, made, onchain, onchain.table(**changes)).plan()
        assert why in planned.problems[0]
        with pytest.raises(ConfigError, match="nothing was sent or signed"):
            refuse(planned)
        assert one.requests == []
        assert times_paid(onchain) == {}


def test_a_provider_is_chosen_by_price_place_and_size(onchain: Onchain, one: CurioServer, two: CurioServer) -> None:
    from holdfast.pipeline.filecoin.choose import choose
    from holdfast.storage.chain.deployment import Deployment
    from holdfast.storage.chain.registry import providers

    onchain.register(onchain.anvil.accounts[3], "http://127.0.0.1:9/", price=USDFC // 1000, name="cheap", max=1000)
    onchain.anvil.mine(3)
    table = onchain.table()
    deployment = Deployment.of(table, ENV)
    at = deployment.chain.anchor()
    known = providers(deployment.chain, deployment.service.addresses(at).registry, at)

    def names(table: Filecoin, size: int, count: int, **other: list[int]) -> list[str]:
        return [found.name for found in choose(known, table, [size], count, **other)]

    assert names(table, 500, 2) == ["cheap", "two"], "of equal ones the one in another place"
    assert names(table, 5000, 2) == ["one", "two"], "of equal ones the older"
    assert names(table, 5000, 1, before=[2]) == ["two"], "who has data of ours costs no new data set"
    assert names(table, 5000, 1, taken=[1]) == ["two"]
    assert names(onchain.table(location="oulu"), 5000, 1) == ["two"]
    assert names(onchain.table(max_price="1"), 500, 1) == ["cheap"]
    with pytest.raises(ConfigError, match="1 are not in oulu; 1 take no pieces of this size"):
        names(onchain.table(location="oulu"), 5000, 2)


def test_a_named_provider_has_to_be_in_the_registry(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        named = Provider(name="mine", kind="filecoin", url=one.url.upper().replace("HTTP", "http") + "/")
        planned = keeping(store, made, onchain, onchain.table(), entries=[named]).plan()
        assert [copy.entry.name for copy in planned.copies] == ["mine"]
        other = Provider(name="other", kind="filecoin", url="http://127.0.0.1:9")
        with pytest.raises(ConfigError, match="no active provider of the registry has the URL"):
            keeping(store, made, onchain, onchain.table(), entries=[other]).plan()


def test_a_session_key_signs_for_the_payer_as_long_as_it_may(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    from holdfast.storage.chain.wallet import Wallet

    session = Wallet.of(SESSION_KEY, "a test")
    env = {"PAYER_KEY": SESSION_KEY}
    table = onchain.table(payer=onchain.payer)

    def login(seconds: int) -> None:
        now = onchain.anvil.rpc.block(onchain.anvil.rpc.head()).time_s
        kinds = [permission("CreateDataSet"), permission("AddPieces")]
        data = LOGIN.encode(session.address, now + seconds, kinds, "holdfast")
        onchain.anvil.transact(onchain.payer, onchain.sessions, data)
        onchain.anvil.mine(3)

    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, table)
        work._env = env
        assert "may not sign CreateDataSet" in work.plan().problems[0]
        login(600)
        assert "for another hour" in work.plan().problems[0]
        login(86_400)
        planned = work.plan()
        assert planned.problems == ()
        work.keep(planned.copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


def test_what_was_cleaned_up_is_sent_again_and_the_same_message_with_it(
    onchain: Onchain, one: CurioServer, folder: Path
) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        one.faults.refuse["POST /pdp/data-sets/"] = 503, "busy"
        with pytest.raises(PeerError, match="busy"):
            work.keep(work.plan().copies[0], None)
        (message,) = journal(store, onchain).open_messages(1)
        assert {row.state for row in journal(store, onchain).copies()} == {State.FAILED}
        one.faults.refuse.clear()
        one.clean()  # two hours later
        assert one.pieces == {}
        work.keep(work.plan().copies[0], None)
        assert journal(store, onchain).open_messages(1) == []
        assert sum(method == "PUT" for method, _ in one.requests) == 2 * PIECES
        assert set(times_paid(onchain).values()) == {1}
        assert message.pieces == tuple(piece.cid for piece in made.pieces)


def test_a_provider_that_only_says_that_it_sent_the_transaction(
    onchain: Onchain, one: CurioServer, folder: Path
) -> None:
    with dataset(folder) as (store, _, made):
        slow = pace(onchain, wait_s=0.3)
        one.faults.drop_transactions = True
        work = keeping(store, made, onchain, onchain.table(), pace=slow)
        with pytest.raises(UnavailableError, match="waited 300ms for the pieces to be on the chain"):
            work.keep(work.plan().copies[0], None)
        assert times_paid(onchain) == {}
        one.faults.refuse["GET /pdp/data-sets/created/"] = 404, "unknown"  # it has forgotten that it said so
        with pytest.raises(WithheldError, match="failed, or is not known there"):
            work.keep(work.plan().copies[0], None)
        one.faults.drop_transactions = False
        one.faults.refuse.clear()
        work._pace = pace(onchain, wait_s=2.0)  # it says “pending” for ever: half way it is given the message again
        work.keep(work.plan().copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


def test_a_lost_journal_is_no_second_payment(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    """The transaction is not yet so deep that it counts, and nobody here remembers it."""
    with dataset(folder) as (store, _, made):
        onchain.anvil.mine(30)
        work = keeping(store, made, onchain, onchain.table(confirmations=20))
        work._pace = pace(onchain, wait_s=0.0)
        with pytest.raises(UnavailableError):
            work.keep(work.plan().copies[0], None)
        onchain.anvil.mine()
        assert set(times_paid(onchain).values()) == {1}
        for path in folder.glob("filecoin.sqlite*"):
            path.unlink()
        work._pace = pace(onchain)
        work.keep(work.plan().copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


def test_more_pieces_than_one_message_takes(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    from holdfast.pipeline.pieces.pack import pack

    with dataset(folder) as (store, root, _):
        made = pack(store, root, max_group_bytes=16_384, max_piece_bytes=17_000)
        made = replace(made, pieces=tuple({piece.cid: piece for piece in made.pieces}.values()))
        work = keeping(store, made, onchain, onchain.table())
        planned = work.plan()
        work.keep(planned.copies[0], None)
        posts = [path for method, path in one.requests if method == "POST" and path.startswith("/pdp/data-sets")]
        assert len(posts) == -(-len(made.pieces) // 40)
        assert set(times_paid(onchain).values()) == {1}
        assert len(times_paid(onchain)) == len(made.pieces)
