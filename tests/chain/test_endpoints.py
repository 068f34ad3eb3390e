"""Endpoints of the chain that are down, silent, behind each other, or lie: two are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.pipeline.audit.chain import audit_chain
from holdfast.storage.chain.abi import Function, hexadecimal
from holdfast.storage.chain.agreed import DisagreementError
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.events import REMOVED
from holdfast.storage.chain.rpc import EthRpc, RevertError
from holdfast.storage.chain.typed_data import removal_data
from holdfast.storage.chain.wallet import Wallet
from holdfast.storage.errors import (
    PeerError,
    SlowError,
    UnavailableError,
    UnreachableError,
    WrongBytesError,
)
from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.curio import REMOVE, CurioServer
from support.chain.deploy import PAYER_KEY, Onchain
from support.chain.looking import Rewrite, look, proxy
from support.chain.stored import ENV


def lies(method: str, change: Callable[[str], str]) -> Rewrite:
    def rewrite(request: dict[str, Any], answer: Any) -> Any:
        if request["method"] == method and isinstance(answer.get("result"), str):
            answer["result"] = change(answer["result"])
        return answer

    return rewrite


def null_round(number: int, how: str) -> Rewrite:
    """An epoch without a block, as Lotus says it (error 12), as others do (null), and as Forest did (the one before).

    https://github.com/ChainSafe/forest/issues/7276, https://github.com/filecoin-project/lotus/issues/12633
    """

    def rewrite(request: dict[str, Any], answer: Any) -> Any:
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == hex(number):
            if how == "lotus":
                error = {"code": 12, "message": f"requested epoch was a null round ({number})", "data": number}
                return {"jsonrpc": "2.0", "id": request["id"], "error": error}
            answer["result"] = None if how == "null" else answer["result"] | {"number": hex(number - 1)}
        return answer

    return rewrite


@pytest.mark.parametrize(
    "how", [("lotus", "lotus"), ("lotus", "null"), ("forest", "lotus"), ("null", "away"), ("lotus", "has it")]
)
def test_an_epoch_without_a_block(onchain: Onchain, stored: PieceManifest, how: tuple[str, str]) -> None:
    onchain.anvil.mine(3)  # what was stored is older than the epoch in question
    chain = Deployment.of(onchain.table(), ENV).chain
    number = chain.anchor().block.number

    def away(request: dict[str, Any], answer: Any) -> Any:
        return None if request["method"] == "eth_getBlockByNumber" else answer

    others = {"away": away, "has it": lambda _request, answer: answer}  # all must have it, or it is none for anybody
    first, second = (others.get(one) or null_round(number, one) for one in how)
    with proxy(onchain.anvil.url, first) as one, proxy(onchain.anvil.url, second) as two:
        for rpc in ([one, two], [two, one]):
            deployment = Deployment.of(onchain.table(rpc=rpc), ENV)
            assert deployment.chain.anchor().block.number == number - 1
            assert audit_chain(stored, deployment, [], None, data_sets=[1]).ok


def test_numbers_that_no_contract_counts_to(onchain: Onchain, stored: PieceManifest) -> None:
    """A lone endpoint that lies: an error that names what is wrong, not one of the database."""
    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    word = f"{deployment.service.terms(1, at).provider_id:064x}{1:064x}"

    def grow(request: dict[str, Any], answer: Any) -> Any:
        if request["method"] == "eth_call" and word in str(answer.get("result")):
            answer["result"] = answer["result"].replace(word, word[:64] + "f" * 64)
        return answer

    with proxy(onchain.anvil.url, grow) as url, pytest.raises(WrongBytesError, match="no contract has counted so far"):
        look(onchain, stored, rpc=[url])


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("eth_call", lambda text: text[:-1] + ("0" if text[-1] != "0" else "1")),
        ("eth_call", lambda _: "0x" + "00" * 31 + "01"),
    ],
)
def test_two_endpoints_that_contradict_each_other_are_not_believed(
    onchain: Onchain, stored: PieceManifest, method: str, change: Callable[[str], str]
) -> None:
    with proxy(onchain.anvil.url, lies(method, change)) as liar, pytest.raises(DisagreementError, match="do not agree"):
        look(onchain, stored, rpc=[onchain.anvil.url, liar])


def test_an_endpoint_that_hides_events_is_not_believed(onchain: Onchain, stored: PieceManifest) -> None:
    def hide(request: dict[str, Any], answer: Any) -> Any:
        return answer | {"result": []} if request["method"] == "eth_getLogs" else answer

    with proxy(onchain.anvil.url, hide) as liar, pytest.raises(DisagreementError, match="the events"):
        look(onchain, stored, rpc=[onchain.anvil.url, liar])


def test_an_endpoint_of_another_chain_with_another_block(onchain: Onchain, stored: PieceManifest) -> None:
    def fork(request: dict[str, Any], answer: Any) -> Any:
        if request["method"] == "eth_getBlockByNumber":
            answer["result"]["hash"] = "0x" + "ab" * 32
        return answer

    with proxy(onchain.anvil.url, fork) as other, pytest.raises(DisagreementError, match="block"):
        look(onchain, stored, rpc=[onchain.anvil.url, other])

    def mainnet(request: dict[str, Any], answer: Any) -> Any:
        return answer | {"result": hex(314)} if request["method"] == "eth_chainId" else answer

    with proxy(onchain.anvil.url, mainnet) as other, pytest.raises(WrongBytesError, match="chain 314, expected"):
        look(onchain, stored, rpc=[other])


def test_a_chain_that_changes_while_it_is_read(onchain: Onchain, stored: PieceManifest) -> None:
    seen: list[str] = []

    def turn(request: dict[str, Any], answer: Any) -> Any:
        if request["method"] == "eth_getBlockByNumber":
            seen.append(request["params"][0])
            if len(seen) > 1:
                answer["result"]["hash"] = "0x" + "cd" * 32
        return answer

    deployment = Deployment.of(onchain.table(), ENV)
    with proxy(onchain.anvil.url, turn) as url, pytest.raises(UnavailableError, match="reorganised while it was read"):
        audit_chain(stored, Deployment.of(onchain.table(rpc=[url]), ENV), [], None, data_sets=[1])
    assert audit_chain(stored, deployment, [], None, data_sets=[1]).ok


def test_an_endpoint_that_is_down_is_named_and_passed_over(onchain: Onchain, stored: PieceManifest) -> None:
    down = "http://127.0.0.1:9"
    deployment = Deployment.of(onchain.table(rpc=[down, onchain.anvil.url]), ENV)
    found = audit_chain(stored, deployment, [], None, data_sets=[1])
    assert found.ok
    assert found.silent == (down,)
    assert found.anchor.witnesses == (onchain.anvil.url,)
    with pytest.raises(UnreachableError, match="no endpoint of the chain answers"):
        look(onchain, stored, rpc=[down])


def test_a_contract_that_refuses_while_an_endpoint_is_silent(onchain: Onchain) -> None:
    """It refuses all the same, and what is silent is named."""

    def away(request: dict[str, Any], answer: Any) -> Any:
        return None if request["method"] == "eth_call" else answer

    with proxy(onchain.anvil.url, away) as url:
        chain = Deployment.of(onchain.table(rpc=[url, onchain.anvil.url]), ENV).chain
        at = chain.anchor()
        with pytest.raises(RevertError):
            chain.call(onchain.service, Function("noSuchFunction", ()).encode(), at)
        assert chain.failed == {url}


def test_two_endpoints_of_one_host_are_two(onchain: Onchain, stored: PieceManifest) -> None:
    """They differ in a key, which is part of the path and not shown."""
    with proxy(onchain.anvil.url, lambda _request, answer: answer) as url:
        deployment = Deployment.of(onchain.table(rpc=[f"{url}/a", f"{url}/b"]), ENV)
        at = deployment.chain.anchor()
        assert len(at.asked) == len(at.witnesses) == 2
        assert audit_chain(stored, deployment, [], None, data_sets=[1]).ok


def test_events_that_never_end_end(onchain: Onchain, stored: PieceManifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.storage.chain.rpc._MAX_LOGS_S", -1.0)
    monkeypatch.setattr("holdfast.storage.chain.pdp._MAX_PAGES_S", -1.0)
    monkeypatch.setattr("holdfast.storage.chain.warm_storage._MAX_PAGES_S", -1.0)
    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    with pytest.raises(SlowError, match="has not given the events"):
        EthRpc(onchain.anvil.url, {}).logs(onchain.verifier, [], 0, at.block.number)
    with pytest.raises(SlowError, match="the pieces of data set 1 have not come"):
        deployment.verifier.pieces(1, at)
    with pytest.raises(SlowError, match="the data sets of"):
        deployment.service.sets_of(onchain.payer, at)


def test_an_endpoint_that_is_silent_on_one_question_is_named(onchain: Onchain, stored: PieceManifest) -> None:
    def silent(request: dict[str, Any], answer: Any) -> Any:
        return None if request["method"] == "eth_getLogs" else answer

    with proxy(onchain.anvil.url, silent) as url:
        deployment = Deployment.of(onchain.table(rpc=[url, onchain.anvil.url]), ENV)
        found = audit_chain(stored, deployment, [], None, data_sets=[1])
        assert found.silent == (url,)


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        {"result": "0x1"},
        {"id": 1, "result": None},
        {"id": 1, "result": "1"},
        {"id": 1, "result": "0xzz"},
        {"id": 1, "error": {"code": -32000, "message": "\x1b[31mred"}},
        {"id": 1, "error": "no"},
    ],
)
def test_answers_that_are_none_are_typed_errors(onchain: Onchain, body: Any) -> None:
    with proxy(onchain.anvil.url, lambda _request, _answer: body) as url, pytest.raises(PeerError) as caught:
        EthRpc(url, {}).head()
    assert caught.value.message.isprintable()


def test_events_that_the_state_denies(onchain: Onchain, one: CurioServer, stored: PieceManifest) -> None:
    """A lone endpoint that hides a piece's removal, or shows one that is not: the contract would contradict itself."""
    deployment = Deployment.of(onchain.table(), ENV)
    client_id = deployment.service.terms(1, deployment.chain.anchor()).client_id
    extra = removal_data(deployment.domain, Wallet.of(PAYER_KEY, "a test"), client_id, [1])
    onchain.anvil.transact(one.account, onchain.verifier, REMOVE.encode(1, [1], extra))
    one.begin(1)
    onchain.anvil.mine(2)

    def hide(request: dict[str, Any], answer: Any) -> Any:
        if request["method"] == "eth_getLogs":
            answer["result"] = [log for log in answer["result"] if log["topics"][0] != hexadecimal(REMOVED.topic)]
        return answer

    with proxy(onchain.anvil.url, hide) as url, pytest.raises(DisagreementError, match="was added, not removed"):
        look(onchain, stored, rpc=[url])
