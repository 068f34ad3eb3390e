"""Providers, endpoints and registry entries that want to be paid twice, or to keep others from being paid at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.configs.filecoin import format_usdfc
from holdfast.pipeline.audit.chain import ChainVerdict, audit_chain
from holdfast.storage.chain.abi import Function
from holdfast.storage.chain.agreed import Chain, DisagreementError
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.rpc import EthRpc, RevertError
from holdfast.storage.chain.typed_data import create_data
from holdfast.storage.chain.wallet import Wallet
from holdfast.storage.errors import (
    ConfigError,
    OversizeError,
    PeerError,
    UnavailableError,
    UnreachableError,
    WrongBytesError,
)
from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.curio import CurioServer
from support.chain.deploy import PERIOD, USDFC, Onchain
from support.chain.looking import look, proxy
from support.chain.stored import ENV, dataset, journal, keeping, pace, times_paid


def some(made: PieceManifest, *numbers: int) -> PieceManifest:
    return replace(made, pieces=tuple(made.pieces[number] for number in numbers))


def test_another_process_that_stores_the_same_meanwhile(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        first = keeping(store, some(made, 0), onchain, onchain.table())
        first.keep(first.plan().copies[0], None)
        second = keeping(store, made, onchain, onchain.table())
        planned = second.plan()
        refused: list[Exception] = []

        def meanwhile(_number: int, when: str, method: str, _path: str) -> None:
            if (when, method) == ("before", "PUT") and not refused:
                other = keeping(store, made, onchain, onchain.table())
                try:
                    other.keep(planned.copies[0], None)
                except UnavailableError as error:
                    refused.append(error)

        one.faults.on_request = meanwhile
        second.keep(planned.copies[0], None)
        assert "another process stores at provider 1" in str(refused[0])
        assert set(times_paid(onchain).values()) == {1}


def test_a_provider_so_slow_that_its_fees_pass_the_ceiling(
    onchain: Onchain, one: CurioServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was uploaded is committed before it is cleaned up: of a slow provider one piece after the other."""
    monkeypatch.setattr("holdfast.pipeline.filecoin.copying._COMMIT_AFTER_S", 0.0)
    with dataset(folder) as (store, _, made):
        cost = keeping(store, made, onchain, onchain.table()).plan().cost
        tight = onchain.table(ceiling=format_usdfc(cost.first_month + 10**12).split()[0])
        work = keeping(store, made, onchain, tight)
        planned = work.plan()
        assert planned.problems == ()
        with pytest.raises(UnavailableError, match="are to be paid next, and .* of the ceiling are left"):
            work.keep(planned.copies[0], None)
        assert len(times_paid(onchain)) == 1
        assert sum(method == "PUT" for method, _ in one.requests) == 1, "nothing is sent that could not be paid"
        wide = keeping(store, made, onchain, onchain.table())
        wide.keep(wide.plan().copies[0], None)
        assert set(times_paid(onchain).values()) == {1}
        assert len(times_paid(onchain)) == len(made.pieces)
        posts = [path for method, path in one.requests if method == "POST" and path.startswith("/pdp/data-sets")]
        assert len(posts) == len(made.pieces)


def test_what_has_to_be_paid_anew_after_the_quote_is_within_the_ceiling(
    onchain: Onchain, one: CurioServer, folder: Path
) -> None:
    """A provider that ends the data set between a quote, of nothing, and the call."""
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        low = keeping(store, made, onchain, onchain.table(ceiling="0.01"))
        planned = low.plan()
        assert (planned.cost.first_month, planned.problems) == (0, ())
        end = Function("terminateService", ("uint256",)).encode(1)
        onchain.anvil.transact(onchain.payer, onchain.service, end)
        onchain.anvil.mine(3)
        before = len(one.requests)
        with pytest.raises(UnavailableError, match="of the ceiling are left"):
            low.keep(planned.copies[0], None)
        assert len(one.requests) == before
        assert set(times_paid(onchain).values()) == {1}


def test_a_second_provider_that_does_not_fetch_is_sent_in_batches_that_can_be_committed(
    onchain: Onchain, one: CurioServer, two: CurioServer, folder: Path
) -> None:
    """A message is signed for one piece until it has fetched one; what is sent from here is signed for afterwards."""
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table(copies=2))
        planned = work.plan()
        work.keep(planned.copies[0], None)
        two.faults.refuse["POST /pdp/piece/pull"] = 501, "not here"
        signed: list[int] = []

        def on_request(_number: int, when: str, method: str, path: str) -> None:
            if (when, method) == ("before", "PUT"):
                (*messages,) = journal(store, onchain).open_messages(2)
                signed.append(sum(len(message.pieces) for message in messages))

        two.faults.on_request = on_request
        work.keep(planned.copies[1], one.url)
        assert signed == [1, 0, 0]
        assert set(times_paid(onchain).values()) == {2}


def test_a_payment_in_the_newest_blocks_that_nobody_remembers(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    """The journal is lost, and this time all pieces would go into one message, which has another nonce."""
    with dataset(folder) as (store, _, made):
        onchain.anvil.mine(60)
        first = keeping(store, some(made, 0), onchain, onchain.table())
        first.keep(first.plan().copies[0], None)
        onchain.anvil.mine(40)
        deep = onchain.table(confirmations=20)
        part = keeping(store, some(made, 0, 1), onchain, deep, pace=pace(onchain, wait_s=0.0))
        with pytest.raises(UnavailableError):
            part.keep(part.plan().copies[0], None)
        onchain.anvil.mine()
        for path in folder.glob("filecoin.sqlite*"):
            path.unlink()
        whole = keeping(store, made, onchain, deep)
        whole.keep(whole.plan().copies[0], None)
        assert set(times_paid(onchain).values()) == {1}
        assert len(times_paid(onchain)) == len(made.pieces)


def test_a_message_that_a_provider_kept_is_no_second_payment(
    onchain: Onchain, one: CurioServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it sent it, the journal is lost, and it sends it after another one was signed and sent."""
    kept: list[tuple[int, dict[str, Any]]] = []
    add = one._add
    monkeypatch.setattr(one, "_add", lambda data_set, asked: kept.append((data_set, asked)) or add(data_set, asked))
    with dataset(folder) as (store, _, made):
        one.faults.drop_transactions = True
        work = keeping(store, made, onchain, onchain.table(), pace=pace(onchain, wait_s=0.3))
        with pytest.raises(UnavailableError):
            work.keep(work.plan().copies[0], None)
        assert times_paid(onchain) == {}
        for path in folder.glob("filecoin.sqlite*"):
            path.unlink()
        one.faults.drop_transactions = False
        again = keeping(store, made, onchain, onchain.table())
        again.keep(again.plan().copies[0], None)
        with pytest.raises(RevertError):
            add(*kept[0])
        onchain.anvil.mine(3)
        assert set(times_paid(onchain).values()) == {1}


def test_messages_that_may_still_be_used_are_quoted_as_they_are(
    onchain: Onchain, one: CurioServer, folder: Path
) -> None:
    with dataset(folder) as (store, _, made):
        part = keeping(store, some(made, 0), onchain, onchain.table())
        whole = keeping(store, made, onchain, onchain.table())
        fresh = whole.plan()
        one.faults.refuse["POST /pdp/data-sets/"] = 503, "later"
        with pytest.raises(PeerError):
            part.keep(part.plan().copies[0], None)
        one.faults.refuse.clear()
        planned = whole.plan()
        assert planned.cost.pieces == fresh.cost.pieces == len(made.pieces)
        fee = planned.cost.once - fresh.cost.once
        assert 0 < fee < USDFC // 1000, "of one more message: one is signed, another is needed"
        whole.keep(planned.copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


def test_nothing_is_signed_while_an_endpoint_is_silent(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    """The one that is left may be the one that lies."""
    calls: list[str] = []

    def away(request: dict[str, Any], answer: Any) -> Any:
        calls.append(request["method"])
        return None if one.requests and request["method"] == "eth_call" else answer

    with dataset(folder) as (store, _, made), proxy(onchain.anvil.url, away) as url:
        work = keeping(store, made, onchain, onchain.table(rpc=[onchain.anvil.url, url]))
        planned = work.plan()
        assert "eth_call" in calls
        with pytest.raises(UnreachableError, match=f"nothing is signed on the word of some.*{url} is silent"):
            work.keep(planned.copies[0], None)
        assert times_paid(onchain) == {}
        assert journal(store, onchain).open_messages(1) == []
        assert f"{url.rstrip('/')} does not answer" in work.plan().problems[-1], "whom the other names may be a liar"
        one.requests.clear()
        alone = keeping(store, made, onchain, onchain.table())
        alone.keep(alone.plan().copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


def test_an_endpoint_that_is_behind_is_not_the_chain(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        onchain.anvil.mine(60)
        old = onchain.anvil.rpc.head()
        work = keeping(store, some(made, 0), onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        onchain.anvil.mine(100)
        work.plan()

        def stuck(request: dict[str, Any], answer: Any) -> Any:
            return answer | {"result": hex(old)} if request["method"] == "eth_blockNumber" else answer

        with proxy(onchain.anvil.url, stuck) as url:
            both = keeping(store, made, onchain, onchain.table(rpc=[onchain.anvil.url, url]))
            with pytest.raises(DisagreementError, match="do not follow one chain"):
                both.plan()
            alone = keeping(store, made, onchain, onchain.table(rpc=[url]))
            with pytest.raises(UnreachableError, match="the endpoints are behind"):
                alone.plan()
        for far in (10**6, old):  # one that is ahead of all others must not be the only one that is believed

            def ahead(request: dict[str, Any], answer: Any, far: int = far) -> Any:
                if request["method"] == "eth_getBlockByNumber" and isinstance(answer.get("result"), dict):
                    answer["result"]["number"] = request["params"][0]
                return answer | {"result": hex(far)} if request["method"] == "eth_blockNumber" else answer

            with proxy(onchain.anvil.url, ahead) as url, pytest.raises(DisagreementError):
                look(onchain, made, rpc=[onchain.anvil.url, url])
        late = Chain([EthRpc(onchain.anvil.url, {})], onchain.table().chain_id or 0, 2, now_s=lambda: 4e9)
        with pytest.raises(UnreachableError, match="too old to be believed"):
            late.anchor()


def test_a_provider_that_uses_half_of_a_message(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    """It makes the data set, and keeps our signature for the pieces: that one stays the only one for them."""
    create = Function("createDataSet", ("address", "bytes"), ("uint256",))
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table(), pace=pace(onchain, wait_s=0.5))
        one.faults.refuse["POST /pdp/data-sets/create-and-add"] = 503, "later"
        with pytest.raises(PeerError, match="later"):
            work.keep(work.plan().copies[0], None)
        (message,) = journal(store, onchain).open_messages(1)
        deployment = Deployment.of(onchain.table(), ENV)
        wallet = Wallet.of(ENV["PAYER_KEY"], "a test")
        metadata = {"source": "holdfast", "withIPFSIndexing": ""}
        half = create_data(deployment.domain, wallet, onchain.payer, message.client_id, one.account, metadata)
        onchain.anvil.transact(one.account, onchain.verifier, create.encode(onchain.service, half))
        onchain.anvil.mine(3)
        one.faults.refuse.clear()
        planned = work.plan()
        (still,) = planned.copies[0].standing.open
        assert (still.nonce, still.data_set, still.pieces) == (message.nonce, 1, message.pieces)
        work._pace = pace(onchain)
        work.keep(planned.copies[0], None)
        assert set(times_paid(onchain).values()) == {1}
        assert journal(store, onchain).open_messages(1) == []


def test_pieces_that_were_not_quoted_are_not_paid(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        whole = keeping(store, made, onchain, onchain.table())
        one.faults.refuse["POST /pdp/data-sets/"] = 503, "later"
        with pytest.raises(PeerError):
            whole.keep(whole.plan().copies[0], None)
        one.faults.refuse.clear()
        part = keeping(store, some(made, 0), onchain, onchain.table())
        planned = part.plan()
        assert planned.cost.pieces == 1
        with pytest.raises(UnavailableError, match="2 pieces of something else"):
            part.keep(planned.copies[0], None)
        assert times_paid(onchain) == {}
        whole.keep(whole.plan().copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


def test_a_provider_that_quits_is_not_proven_for_ever(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        onchain.anvil.mine(2 * PERIOD + 5)
        found = look(onchain, made)
        assert (found.verdict, found.ok) == (ChainVerdict.LATE, False), "it never began to prove"
        for _ in range(2):
            one.begin(1)
            one.prove(1)
        onchain.anvil.mine(2)
        assert look(onchain, made).verdict is not ChainVerdict.UNPROVEN
        onchain.anvil.mine(25 * PERIOD)
        found = look(onchain, made)
        assert (found.verdict, found.ok) == (ChainVerdict.LATE, False)
        assert "was not proven since epoch" in found.reasons[0]


def test_who_is_paid_no_longer_keeps_nothing(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        data = Function("terminateService", ("uint256",)).encode(1)
        onchain.anvil.transact(onchain.payer, onchain.service, data)
        onchain.anvil.mine(610)
        deployment = Deployment.of(onchain.table(), ENV)
        found = audit_chain(made, deployment, [], None, data_sets=[1]).findings[0]
        assert (found.verdict, found.ok, found.pieces) == (ChainVerdict.DELETED, False, 0)


def test_an_answer_that_would_grow_is_not_read(onchain: Onchain) -> None:
    def bomb(request: dict[str, Any], answer: Any) -> Any:
        return answer | {"result": "0x" + "00" * 500_000} if request["method"] == "eth_call" else answer

    with proxy(onchain.anvil.url, bomb) as url, pytest.raises((OversizeError, WrongBytesError)):
        EthRpc(url, {}).call(onchain.service, b"", 1)


@pytest.mark.parametrize("place", ["http://[", "/pdp/piece/uploads/é", "/pdp/piece/uploads/", "/else/1", "x" * 9000])
def test_a_place_that_is_none(onchain: Onchain, one: CurioServer, folder: Path, place: str) -> None:
    handle = one._handle

    def elsewhere(method: str, path: str, *rest: Any) -> tuple[int, bytes, dict[str, str]]:
        status, body, headers = handle(method, path, *rest)
        return status, body, headers | ({"Location": place.encode().decode("latin-1")} if status == 201 else {})

    one._handle = elsewhere  # type: ignore[method-assign]
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        with pytest.raises(PeerError):
            work.keep(work.plan().copies[0], None)
        assert times_paid(onchain) == {}


def test_gas_has_a_bound(onchain: Onchain, folder: Path) -> None:
    from holdfast.pipeline.filecoin.fund import Step, fund

    def dear(request: dict[str, Any], answer: Any) -> Any:
        return answer | {"result": hex(10**15)} if request["method"] == "eth_gasPrice" else answer

    with proxy(onchain.anvil.url, dear) as url, pytest.raises(ConfigError, match="FIL of gas"):
        fund(onchain.table(rpc=[url]), [Step(onchain.token, bytes.fromhex("095ea7b3") + bytes(64), "a test")], ENV)


@pytest.mark.parametrize("lie", ["-0x1", "0x" + "f" * 70, "0x", 7])
def test_numbers_of_an_endpoint_that_are_none_sign_nothing(onchain: Onchain, lie: object) -> None:
    from holdfast.pipeline.filecoin.fund import Step, fund

    def wrong(request: dict[str, Any], answer: Any) -> Any:
        return answer | {"result": lie} if request["method"] == "eth_getTransactionCount" else answer

    with proxy(onchain.anvil.url, wrong) as url, pytest.raises(WrongBytesError, match="eth_getTransactionCount"):
        data = Function("approve", ("address", "uint256")).encode(onchain.payer, 1)
        fund(onchain.table(rpc=[url]), [Step(onchain.token, data, "a test")], ENV)


def test_the_secret_in_an_endpoints_path_is_shown_nowhere(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
    with proxy(onchain.anvil.url, lambda _request, answer: answer) as url:
        deployment = Deployment.of(onchain.table(rpc=[f"{url}/k3y", "http://127.0.0.1:9/k3y"]), ENV)
        found = audit_chain(made, deployment, [], None, data_sets=[1])
    assert found.silent == ("http://127.0.0.1:9",)
    assert "k3y" not in repr(found)
    with pytest.raises(UnreachableError) as caught:
        EthRpc("http://127.0.0.1:9/k3y", {}).head()
    assert "k3y" not in caught.value.message
