"""A client that others wrote, synapse-core, works against this provider and these contracts: they do not fit us alone.

And what it stored, we read: its data set is left alone when we store, and audited when it is named.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.pipeline.audit.chain import ChainVerdict, audit_chain
from holdfast.storage.chain.deployment import Deployment
from support.chain.anvil import CHAIN_ID
from support.chain.curio import CurioServer
from support.chain.deploy import PAYER_KEY, Onchain
from support.chain.stored import ENV, PIECES, dataset, keeping

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "build/npm"


@pytest.fixture
def theirs(onchain: Onchain, one: CurioServer) -> dict[str, Any]:
    given = {
        "key": PAYER_KEY, "chainId": CHAIN_ID, "rpc": onchain.anvil.url, "service": onchain.service,
        "verifier": onchain.verifier, "payments": onchain.payments, "registry": onchain.registry,
        "sessions": onchain.sessions, "token": onchain.token, "url": one.url, "payee": one.account,
    }  # fmt: skip
    script = (ROOT / "tests/npm/synapse.mjs").read_text()
    command = ["node", "--input-type=module", "-e", script, json.dumps(given)]
    done = subprocess.run(command, cwd=MODULES, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_synapse_core_stores_and_reads(
    onchain: Onchain, one: CurioServer, theirs: dict[str, Any], folder: Path
) -> None:
    assert theirs["active"] == theirs["pieces"]
    assert theirs["ids"] == [0, 1]
    assert theirs["same"] is True
    assert theirs["wrong"] == "refused"
    assert {str(piece) for piece in one.stored(theirs["dataSetId"]).values()} == set(theirs["pieces"])

    with dataset(folder) as (store, _, made):
        onchain.anvil.mine(3)
        work = keeping(store, made, onchain, onchain.table())
        planned = work.plan()
        assert planned.copies[0].standing.data_set is None, "another tool's data set is not added to"
        found = work.keep(planned.copies[0], None)
        assert {where.data_set for where in found.active.values()} == {2}
        deployment = Deployment.of(onchain.table(), ENV)
        audit = audit_chain(made, deployment, [], None, data_sets=[1, 2]).findings
        assert [(one.verdict, one.pieces) for one in audit] == [
            (ChainVerdict.MISSING, 0),
            (ChainVerdict.UNPROVEN, PIECES),
        ]
