"""Entries of the registry that break others, or lead into our own network; who is chosen out of it."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from holdfast.configs.roster import Provider
from holdfast.pipeline.place.pieces import PieceKeepers, PiecePlacing
from holdfast.pipeline.place.placing import PlaceOptions
from holdfast.pipeline.place.read_back import ReadBack
from holdfast.pipeline.place.state import Placements
from holdfast.storage.chain.abi import Function, encode
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.registry import providers
from holdfast.storage.errors import (
    ConfigError,
    ForbiddenAddressError,
)
from holdfast.storage.pins.curio import Curio
from holdfast.storage.pins.pin import Status
from holdfast.storage.sources.netguard import NetGuard
from support.chain.curio import CurioServer
from support.chain.deploy import REGISTER, Onchain
from support.chain.stored import ENV, dataset, keeping
from support.mining import mining


def test_a_registry_entry_that_leads_into_our_own_network(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    """A name of a host is checked where it is dialled: it may lead anywhere, and elsewhere than it did before."""
    port = urlsplit(one.url).port
    provider = Provider(name="chosen", kind="filecoin", url=f"http://localhost:{port}")
    with dataset(folder) as (store, _, made):
        piece = made.pieces[0].cid
        guarded = Curio(provider, {}, NetGuard())
        with pytest.raises(ForbiddenAddressError, match="not a public address"):
            guarded.has(piece)
        with pytest.raises(ForbiddenAddressError, match="not a public address"):
            guarded._put("/pdp/piece/uploads/1", 4, [b"data"], lambda: None)
        assert one.requests == []
        for guard in (None, NetGuard.parse(["127.0.0.0/8", "::1/128"])):
            assert not Curio(provider, {}, guard).has(piece)
        assert len(one.requests) == 2
        work = keeping(store, made, onchain, onchain.table())
        chosen = work.plan().copies[0]
        assert not chosen.guard.guarded, "of a network of one's own"
        before = len(one.requests)
        with pytest.raises(ForbiddenAddressError, match="not a public address"):
            work.keep(replace(chosen, guard=NetGuard()), None)
        assert len(one.requests) == before
        named = Provider(name="mine", kind="filecoin", url=one.url)
        assert not keeping(store, made, onchain, onchain.table(), entries=[named]).plan().copies[0].guard.guarded


def test_on_a_public_network_who_was_chosen_is_guarded_and_who_was_named_is_not(
    onchain: Onchain, one: CurioServer, folder: Path
) -> None:
    from holdfast.pipeline.filecoin.plan import _chosen

    deployment = Deployment.of(onchain.table(), ENV)
    at = deployment.chain.anchor()
    (known,) = providers(deployment.chain, onchain.registry, at)
    known = replace(known, url="https://sp.example")
    public = onchain.table().model_copy(update={"network": "calibration"})
    with dataset(folder) as (_, _, made):
        for entries, guarded in (([], True), ([Provider(name="sp", kind="filecoin", url=known.url)], False)):
            ((_, guard, found),) = _chosen([known], public, entries, made, deployment, onchain.payer, at)
            assert (guard.guarded, found) == (guarded, known)
        for url in ("https://10.0.0.1", "https://[::1]", "https://224.0.0.1", "https://intranet", "http://sp.example"):
            with pytest.raises(ConfigError, match="0 fitting providers"):
                _chosen([replace(known, url=url)], public, [], made, deployment, onchain.payer, at)


def test_what_is_read_back_from_who_was_chosen_is_guarded(onchain: Onchain, one: CurioServer, folder: Path) -> None:
    with dataset(folder) as (store, root, _):
        options = PlaceOptions(pause_s=0.0)
        placing = PiecePlacing(
            store, root, "d", PieceKeepers(onchain.table()), Placements(folder / "placements.sqlite"), options, ENV,
            lambda _: None, threading.Event(),
        )  # fmt: skip
        plan = placing.prepare()
        with mining(onchain.anvil, 0.1):
            placing.ask()
        (row,) = placing.placed
        assert row.status is Status.PINNED
        placing._plan = replace(plan, copies=(replace(plan.copies[0], guard=NetGuard()),))
        placing.prove(ReadBack(store, root))
        (row,) = placing.placed
        assert "not a public address" in row.message
        assert not row.proven_us


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


def test_providers_that_the_service_approves_of_and_urls_of_two(
    onchain: Onchain, one: CurioServer, two: CurioServer, folder: Path
) -> None:
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
