"""What the chain says, on a real EVM: proven, missed, removed, deleted, replaced, reorganised, endpoints that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.chain_audit import chain_words, read_chain
from holdfast.configs.roster import Provider
from holdfast.pipeline.audit.chain import ChainVerdict, audit_chain
from holdfast.storage.chain.abi import Function
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.events import history
from holdfast.storage.chain.registry import providers
from holdfast.storage.chain.typed_data import removal_data
from holdfast.storage.chain.wallet import Wallet
from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.anvil import Anvil
from support.chain.curio import REMOVE, CurioServer, curio
from support.chain.deploy import PAYER_KEY, PERIOD, Onchain, deploy
from support.chain.looking import look, proxy
from support.chain.stored import ENV, PIECES, dataset, keeping, table_text


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
    path.write_text("".join(entries) + table_text(onchain, payer=onchain.payer, copies=copies))
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
    lost = read_chain(stored, path, [], must=True)
    assert lost is not None
    assert (lost.audit.findings, lost.audit.ok) == ((), False)
    assert "2 copies are wanted, 0 providers are paid" in chain_words(lost.audit)[-2]


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
