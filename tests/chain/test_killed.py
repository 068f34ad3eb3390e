"""kill -9 of whoever stores pieces, at every request that a provider gets, before and after it is handled.

Whoever comes next brings it to its end, and no piece is ever paid for twice: the chain counts.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.chain.curio import CurioServer, Curious
from support.chain.deploy import Onchain
from support.chain.stored import dataset, times_paid
from support.programs import Program

STORE = """
import json, sys
from dataclasses import replace
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from holdfast.configs.filecoin import Filecoin
from holdfast.pipeline.filecoin.copying import Pace
from holdfast.pipeline.filecoin.keep import Keeping
from holdfast.pipeline.pieces.pack import pack
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.chain.rpc import EthRpc
from holdfast.storage.cid import CID

repo, root, table, env, source = json.loads(sys.argv[2])
rpc = EthRpc(table["rpc"][0], {})
pace = Pace(wait_s=20, poll_s=0.0, sleep=lambda _: rpc.ask("anvil_mine", "0x1"))
with DiskStore(Path(repo)).open() as store:
    made = pack(store, CID.parse(root), max_group_bytes=120_000, max_piece_bytes=200_000)
    made = replace(made, pieces=made.pieces[:1])  # all are treated alike: one has every step
    work = Keeping(store, made, Filecoin.model_validate(table), [], env, pace=pace)
    copies = work.plan().copies
    for copy in copies if source is None else copies[1:]:
        work.keep(copy, source)
answer(len(made.pieces))
"""


pytestmark = pytest.mark.timeout(400)  # some forty processes, one after the other


class Death:
    """Kills a process at one moment of a provider's work."""

    def __init__(self, number: int, when: str) -> None:
        self.number, self.when, self.pid, self.done = number, when, 0, False

    def __call__(self, number: int, when: str, _method: str, _path: str) -> None:
        if (number, when) == (self.number, self.when) and self.pid:
            self.done = True
            os.kill(self.pid, signal.SIGKILL)


def start(onchain: Onchain, repo: Path, root: object, copies: int, source: str | None) -> Program:
    from support.chain.stored import ENV

    table = json.loads(onchain.table(copies=copies).model_dump_json(exclude_none=True))
    table["ceiling"] = "1"
    given = [str(repo), str(root), table, ENV, source]
    return Program(STORE, json.dumps([str(Path(__file__).parents[1])]), json.dumps(given))


def run(onchain: Onchain, provider: CurioServer, start_one: Callable[[], Program], death: Death | None) -> bool:
    """Whether it was killed."""
    provider.requests.clear()
    provider.faults = Curious(on_request=death or (lambda *_: None))
    program = start_one()
    if death is not None:
        death.pid = program.pid
    code = program.wait()
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_request_of_an_upload(onchain: Onchain, one: CurioServer, folder: Path, when: str) -> None:
    anvil = onchain.anvil
    with dataset(folder) as (_, root, _):
        pass
    kills = 0
    for number in range(100):
        before = anvil.snapshot()
        for path in folder.glob("filecoin.sqlite*"):
            path.unlink()
        one.pieces.clear()
        one.uploads.clear()
        death = Death(number, when)
        killed = run(onchain, one, lambda: start(onchain, folder, root, 1, None), death)
        kills += killed
        run(onchain, one, lambda: start(onchain, folder, root, 1, None), None)
        assert len(times_paid(onchain)) == 1, f"killed {when} request {number}"
        assert set(times_paid(onchain).values()) == {1}, f"killed {when} request {number}"
        assert len(one.sets()) == 1
        anvil.revert(before)
        if not killed:
            break
    assert kills > 6, "a piece takes four requests, and the commit more"


def test_killed_at_every_request_of_a_second_copy(
    onchain: Onchain, one: CurioServer, two: CurioServer, folder: Path
) -> None:
    anvil = onchain.anvil
    with dataset(folder) as (_, root, _):
        pass
    run(onchain, one, lambda: start(onchain, folder, root, 1, None), None)
    kept = {path: path.read_bytes() for path in folder.glob("filecoin.sqlite*")}
    kills = 0
    for number in range(100):
        before = anvil.snapshot()
        for path in folder.glob("filecoin.sqlite*"):
            path.unlink()
        for path, data in kept.items():
            path.write_bytes(data)
        two.pieces.clear()
        death = Death(number, "after" if number % 2 else "before")
        killed = run(onchain, two, lambda: start(onchain, folder, root, 2, one.url), death)
        kills += killed
        run(onchain, two, lambda: start(onchain, folder, root, 2, one.url), None)
        assert set(times_paid(onchain).values()) == {2}, f"killed at request {number}"
        assert len(two.sets()) == 1
        anvil.revert(before)
        if not killed:
            break
    assert kills > 4
