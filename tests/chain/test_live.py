"""The calibration network, for whoever has a key: `make live-filecoin` (docs/filecoin.md). Nothing else runs it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from holdfast.configs.filecoin import Filecoin
from holdfast.pipeline.audit.chain import audit_chain
from holdfast.pipeline.filecoin.copying import Pace
from holdfast.pipeline.filecoin.keep import Keeping, refuse
from holdfast.pipeline.pieces.pack import pack
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.chain.deployment import Deployment
from support.running_node import publish_folder

KEY, RPC = "HOLDFAST_CALIBRATION_KEY", "HOLDFAST_CALIBRATION_RPC"


@pytest.mark.skipif(not (os.environ.get(KEY) and os.environ.get(RPC)), reason=f"for whoever sets {KEY} and {RPC}")
@pytest.mark.timeout(3600)
def test_two_megabytes_on_calibration(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    fields = {
        "network": "calibration", "rpc": os.environ[RPC].split(","), "key_env": KEY, "ceiling": "0.20", "copies": 1,
        "source": "holdfast-test",
    }  # fmt: skip
    table = Filecoin.model_validate(fields)
    with DiskStore(tmp_path / "repo").open() as store:
        root = publish_folder(store, tmp_path / "files", {"a.bin": random.Random(seed).randbytes(2_000_000)})
        made = pack(store, root)
        work = Keeping(store, made, table, [], os.environ, pace=Pace(wait_s=3000))
        planned = work.plan()
        print(planned.cost)
        refuse(planned)
        found = work.keep(planned.copies[0], None)
        assert {piece.cid for piece in made.pieces} <= set(found.active)
    deployment = Deployment.of(table, os.environ)
    sets = sorted({where.data_set for where in found.active.values()})
    audit = audit_chain(made, deployment, [], None, data_sets=sets)
    print(audit)
    assert not any(one.missing for one in audit.findings)
