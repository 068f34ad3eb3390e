"""A chain, its contracts, and providers. Skipped without anvil (`make npm`, which needs Node 20)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.anvil import ROOT, Anvil, anvil, binary
from support.chain.curio import CurioServer, curio
from support.chain.deploy import Onchain, deploy
from support.chain.stored import dataset, keeping


@pytest.fixture(scope="session")
def evm() -> Iterator[Anvil]:
    """A running chain, for all tests of a process: each has it as it was deployed."""
    if binary() is None:
        if (ROOT / "build/npm/.installed").is_file():
            pytest.fail("npm installed its packages, and anvil is not among them: is this Linux on x86-64 or arm64?")
        pytest.skip("no EVM: `make npm` (Node 20)")
    with anvil() as found:
        yield found


@pytest.fixture(scope="session")
def deployed(evm: Anvil) -> Onchain:
    """All contracts, funded; no provider yet."""
    found = deploy(evm)
    found.fund()
    return found


@pytest.fixture
def onchain(deployed: Onchain) -> Iterator[Onchain]:
    """The contracts as they were deployed: what a test does is undone."""
    before = deployed.anvil.snapshot()
    yield deployed
    deployed.anvil.revert(before)


@pytest.fixture
def one(onchain: Onchain) -> Iterator[CurioServer]:
    """A provider in the registry."""
    with curio(onchain, onchain.anvil.accounts[1]) as found:
        found.register(name="one", location="C=DE;L=Berlin")
        onchain.anvil.mine(3)
        yield found


@pytest.fixture
def two(onchain: Onchain) -> Iterator[CurioServer]:
    """Another one."""
    with curio(onchain, onchain.anvil.accounts[2]) as found:
        found.register(name="two", location="C=FI;L=Oulu")
        onchain.anvil.mine(3)
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For a repository."""
    return tmp_path / "repo"


@pytest.fixture
def stored(onchain: Onchain, one: CurioServer, folder: Path) -> Iterator[PieceManifest]:
    """Data set 1, at the first provider."""
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
        yield made
