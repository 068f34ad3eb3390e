"""Providers, endpoints and registry entries that want to be paid twice, or to keep others from being paid at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.pipeline.audit.chain import ChainVerdict, audit_chain
from holdfast.storage.chain.abi import Function, encode
from holdfast.storage.chain.agreed import Chain, DisagreementError
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.registry import providers
from holdfast.storage.chain.rpc import EthRpc
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
from support.chain.deploy import PERIOD, REGISTER, Onchain
from support.chain.stored import ENV, dataset, journal, keeping, pace, times_paid

from .test_chain_audit import look, proxy


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


@pytest.mark.parametrize(
    "about",
    [
        {"name": b"\xff\xfe", "url": b"http://127.0.0.1:9"},
        {"name": b"bad", "url": b"http://["},
        {"name": b"bad", "url": b"https://x/?a"},
        {"name": b"bad", "url": b"https://a b/"},
        {"name": b"bad", "url": b"\xff\xfe"},
    ],
)
def test_one_entry_of_the_registry_breaks_nothing_for_others(
    onchain: Onchain, one: CurioServer, folder: Path, about: dict[str, bytes]
) -> None:
    raw = Function(REGISTER.name, REGISTER.takes)
    types = ("address", "bytes", "bytes", "uint8", "bytes[]", "bytes[]")
    account = onchain.anvil.accounts[3]
    data = raw.encode(account, "", "", 0, [], [])[:4] + encode(
        types, (account, about["name"], b"", 0, [b"serviceURL"], [about["url"]])
    )
    onchain.anvil.transact(account, onchain.registry, data)
    onchain.anvil.mine(3)
    with dataset(folder) as (store, _, made):
        planned = keeping(store, made, onchain, onchain.table()).plan()
        assert planned.copies[0].provider.url == one.url or about["name"] == b"\xff\xfe"
    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    known = providers(deployment.chain, onchain.registry, at)
    assert one.url in [each.url for each in known]
    assert all(each.name.isprintable() for each in known)


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


def test_providers_that_the_service_approves_of_and_urls_of_two(
    onchain: Onchain, one: CurioServer, two: CurioServer, folder: Path
) -> None:
    from holdfast.configs.roster import Provider

    approve = Function("addApprovedProvider", ("uint256",))
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        assert [copy.provider.name for copy in work.plan().copies] == ["one"]
        onchain.anvil.transact(onchain.payer, onchain.service, approve.encode(2))
        onchain.anvil.mine(3)
        assert [copy.provider.name for copy in work.plan().copies] == ["two"]
        both = keeping(store, made, onchain, onchain.table(copies=2))
        with pytest.raises(ConfigError, match="1 are not approved by the service"):
            both.plan()
        onchain.register(onchain.anvil.accounts[4], one.url, name="squatter")
        onchain.anvil.mine(3)
        named = Provider(name="mine", kind="filecoin", url=one.url)
        with pytest.raises(ConfigError, match="2 providers of the registry say that they are at"):
            keeping(store, made, onchain, onchain.table(), entries=[named]).plan()
