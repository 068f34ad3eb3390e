"""What the chain says, on a real EVM: proven, missed, removed, deleted, replaced, reorganised, endpoints that lie."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.chain_audit import chain_words, read_chain
from holdfast.configs.roster import Provider
from holdfast.pipeline.audit.chain import ChainFinding, ChainVerdict, audit_chain
from holdfast.storage.chain.abi import Function, hexadecimal
from holdfast.storage.chain.agreed import DisagreementError
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.events import REMOVED, history
from holdfast.storage.chain.registry import providers
from holdfast.storage.chain.rpc import EthRpc, RevertError
from holdfast.storage.chain.typed_data import removal_data
from holdfast.storage.chain.wallet import Wallet
from holdfast.storage.errors import (
    ConfigError,
    PeerError,
    SlowError,
    UnavailableError,
    UnreachableError,
    WrongBytesError,
)
from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.anvil import Anvil
from support.chain.curio import REMOVE, CurioServer, curio
from support.chain.deploy import PAYER_KEY, PERIOD, Onchain, deploy
from support.chain.stored import ENV, PIECES, dataset, keeping

Rewrite = Callable[[dict[str, Any], Any], Any]


@pytest.fixture
def stored(onchain: Onchain, one: CurioServer, folder: Path) -> Iterator[PieceManifest]:
    """Data set 1, at the first provider."""
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        yield made


def look(onchain: Onchain, made: PieceManifest, **table: Any) -> ChainFinding:
    deployment = Deployment.of(onchain.table(**table), ENV)
    at = deployment.chain.anchor()
    known = providers(deployment.chain, deployment.service.addresses(at).registry, at)
    found = audit_chain(made, deployment, [(known[0].name, known[0])], onchain.payer)
    return found.findings[0]


def test_pieces_that_are_there_and_not_due_yet(onchain: Onchain, stored: PieceManifest) -> None:
    found = look(onchain, stored)
    assert (found.verdict, found.ok, found.pieces, found.last_proven) == (ChainVerdict.UNPROVEN, True, PIECES, 0)
    assert found.reasons == ("data set 1 was not proven yet",)


def test_proven(onchain: Onchain, one: CurioServer, stored: PieceManifest) -> None:
    one.begin(1)
    one.prove(1)
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    assert (found.verdict, found.proofs, found.faults, found.reasons) == (ChainVerdict.PROVEN, 1, 0, ())
    assert found.last_proven > 0
    assert found.deadline > 0


def test_a_proof_of_other_bytes_is_refused_by_the_chain(
    onchain: Onchain, one: CurioServer, stored: PieceManifest
) -> None:
    """The contract of these tests checks what it is given, or the others would say nothing."""
    one.begin(1)
    for cid, data in one.pieces.items():
        one.pieces[cid] = bytes(len(data))
    with pytest.raises(AssertionError):
        one.prove(1)


def test_a_missed_period(onchain: Onchain, one: CurioServer, stored: PieceManifest) -> None:
    one.begin(1)
    one.prove(1)
    one.begin(1)
    onchain.anvil.mine(2 * PERIOD)
    found = look(onchain, stored)
    assert found.verdict is ChainVerdict.LATE
    assert "was not proven since epoch" in found.reasons[0]
    assert not found.ok
    one.begin(1)  # late: now the service writes it down
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    assert (found.verdict, found.faults) == (ChainVerdict.LATE, 1)
    assert found.reasons[0] == "data set 1 missed 1 proving periods in the epochs that were read"


def test_a_removed_piece(onchain: Onchain, one: CurioServer, stored: PieceManifest) -> None:
    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    client_id = deployment.service.terms(1, at).client_id
    extra = removal_data(deployment.domain, Wallet.of(PAYER_KEY, "a test"), client_id, [1])
    onchain.anvil.transact(one.account, onchain.verifier, REMOVE.encode(1, [1], extra))
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    assert (found.verdict, found.missing) == (ChainVerdict.MISSING, ())
    assert "1 pieces are about to be removed" in found.reasons
    one.begin(1)
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    gone = str(stored.pieces[1].cid)
    assert (found.verdict, found.missing, found.pieces) == (ChainVerdict.MISSING, (gone,), PIECES - 1)


def test_a_deleted_data_set(onchain: Onchain, one: CurioServer, stored: PieceManifest) -> None:
    one.delete(1)
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    assert (found.verdict, len(found.missing)) == (ChainVerdict.DELETED, PIECES)
    deployment = Deployment.of(onchain.table(), ENV)
    by_number = audit_chain(stored, deployment, [], None, data_sets=[1]).findings[0]
    assert by_number.verdict is ChainVerdict.DELETED


def test_a_replaced_provider(onchain: Onchain, one: CurioServer, two: CurioServer, stored: PieceManifest) -> None:
    one.hand_over(1, two)
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    assert found.verdict is ChainVerdict.REPLACED
    assert f"data set 1 is stored by {two.account}, not {one.account}" in found.reasons
    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    assert history(deployment.chain, onchain.verifier, onchain.service, 1, 0, at).providers == (two.account,)


def roster(onchain: Onchain, path: Path, *urls: str, copies: int = 1) -> Path:
    entries = [f'[[provider]]\nname = "mine"\nkind = "filecoin"\nurl = "{url}"\n' for url in urls]
    path.write_text(
        f"""{"".join(entries)}
        [filecoin]
        network = "devnet"
        rpc = ["{onchain.anvil.url}"]
        chain_id = {onchain.table().chain_id}
        service = "{onchain.service}"
        verifier = "{onchain.verifier}"
        payer = "{onchain.payer}"
        copies = {copies}
        confirmations = 1
        """
    )
    return path


def test_a_provider_that_left_the_registry_is_audited_still(
    onchain: Onchain, one: CurioServer, stored: PieceManifest, tmp_path: Path
) -> None:
    onchain.anvil.transact(one.account, onchain.registry, Function("removeProvider", ()).encode())
    onchain.anvil.mine(3)
    deployment = Deployment.of(onchain.table(), ENV)
    assert providers(deployment.chain, onchain.registry, deployment.chain.anchor()) == []
    found = read_chain(stored, roster(onchain, tmp_path / "none.toml"), [], must=True)
    assert found is not None
    (finding,) = found.audit.findings
    assert (finding.name, finding.verdict, found.audit.ok) == ("filecoin/1", ChainVerdict.UNPROVEN, True)
    assert f"in data set 1 paid by {onchain.payer.lower()}, never proven" in "\n".join(chain_words(found.audit))
    assert [one.url for _, one in found.chosen] == [""], "nobody knows where to ask it"
    named = read_chain(stored, roster(onchain, tmp_path / "named.toml", one.url), [], must=True)
    assert named is not None
    unknown, chosen = named.audit.findings
    assert (unknown.name, unknown.verdict, unknown.ok) == ("mine", ChainVerdict.UNKNOWN, False)
    assert "no provider of the registry has this URL" in unknown.reasons[0]
    assert (chosen.name, chosen.verdict) == ("filecoin/1", ChainVerdict.UNPROVEN)


def test_providers_of_other_datasets_and_of_other_tools_are_none_of_this_one(
    onchain: Onchain, one: CurioServer, two: CurioServer, stored: PieceManifest, folder: Path, tmp_path: Path
) -> None:
    path = roster(onchain, tmp_path / "roster.toml", copies=2)
    with dataset(folder) as (store, _, made):
        entry = Provider(name="two", kind="filecoin", url=two.url)
        other = keeping(store, made, onchain, onchain.table(source="another tool"), entries=[entry])
        other.keep(other.plan().copies[0], None)
    found = read_chain(stored, path, [], must=True)
    assert found is not None
    assert [finding.name for finding in found.audit.findings] == ["filecoin/1"]
    assert not found.audit.ok, "two copies are wanted"
    assert "2 copies are wanted" in chain_words(found.audit)[-2]
    by_number = read_chain(stored, path, [2], must=True)
    assert by_number is not None
    assert by_number.audit.findings[0].payers == (onchain.payer.lower(),)
    two.delete(2)
    one.delete(1)
    onchain.anvil.mine(3)
    with pytest.raises(ConfigError, match="pays nobody for pieces of"):
        read_chain(stored, path, [], must=True)


def test_a_service_that_is_paid_no_more(onchain: Onchain, one: CurioServer, stored: PieceManifest) -> None:
    data = Function("terminateService", ("uint256",)).encode(1)
    onchain.anvil.transact(onchain.payer, onchain.service, data)
    onchain.anvil.mine(2)
    found = look(onchain, stored)
    assert found.verdict is ChainVerdict.LATE
    assert "is paid for until epoch" in found.reasons[0]


def test_both_forms_of_added_pieces_and_logs_in_pages(evm: Anvil, folder: Path) -> None:
    """Before 3.5.0 ids came with CIDs; endpoints that refuse a long range are asked for shorter ones."""
    before = evm.snapshot()
    try:
        onchain = deploy(evm, legacy=True)
        onchain.fund()
        with curio(onchain, evm.accounts[1]) as one, dataset(folder) as (store, _, made):
            one.register()
            evm.mine(50)
            work = keeping(store, made, onchain, onchain.table())
            work.keep(work.plan().copies[0], None)
            ranges: list[int] = []

            def short(request: dict[str, Any], answer: Any) -> Any:
                if request["method"] == "eth_getLogs":
                    where = request["params"][0]
                    ranges.append(int(where["toBlock"], 16) - int(where["fromBlock"], 16) + 1)
                    if ranges[-1] > 10:
                        return {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32005, "message": "range"}}
                return answer

            with proxy(evm.url, short) as url:
                deployment = Deployment.of(onchain.table(rpc=[url]), ENV)
                at = deployment.chain.anchor()
                found = history(deployment.chain, onchain.verifier, onchain.service, 1, 0, at)
            assert max(ranges) > 10 >= min(ranges)
            assert {cid for cid, _ in found.added.values()} == {piece.cid for piece in made.pieces}
            assert look(onchain, made).verdict is ChainVerdict.UNPROVEN
    finally:
        evm.revert(before)


def test_the_new_form_too(onchain: Onchain, stored: PieceManifest) -> None:
    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    found = history(deployment.chain, onchain.verifier, onchain.service, 1, 0, at)
    assert [found.added[number][0] for number in range(PIECES)] == [piece.cid for piece in stored.pieces]


def test_a_chain_that_is_reorganised_under_us(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    """What was committed never was: seen, said, and stored again with the same message, for one payment."""
    from holdfast.pipeline.filecoin.journal import State
    from support.chain.stored import journal, times_paid

    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table(confirmations=0))
        planned = work.plan()
        before = onchain.anvil.snapshot()
        work.keep(planned.copies[0], None)
        deployment = Deployment.of(onchain.table(), ENV)
        onchain.anvil.mine(4)
        at = deployment.chain.anchor()
        assert deployment.chain.still(at)
        onchain.anvil.revert(before)
        onchain.anvil.mine(9)
        assert not deployment.chain.still(at)
        assert look(onchain, made).verdict is ChainVerdict.MISSING
        again = work.plan()
        assert again.cost.pieces == PIECES
        assert {row.state for row in journal(store, onchain).copies()} == {State.FAILED}
        work.keep(again.copies[0], None)
        assert set(times_paid(onchain).values()) == {1}


@contextmanager
def proxy(url: str, rewrite: Rewrite) -> Iterator[str]:
    """An endpoint that hands calls on, and may change answers; None: it cuts the connection."""
    behind = EthRpc(url, {})

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: Any = {"jsonrpc": "2.0", "id": request["id"]}
            try:
                answer["result"] = behind.ask(request["method"], *request["params"])
            except PeerError as error:
                answer["error"] = {"code": 3, "message": error.message}
            body = rewrite(request, answer)
            if body is None:
                return
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
