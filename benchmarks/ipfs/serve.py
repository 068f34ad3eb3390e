"""One of our peers as the only provider of a Kubo, beside another Kubo as its only provider."""

from __future__ import annotations

from ..goal import Goal
from ..servers import peer
from .setting import Setting, timed


def goals(setting: Setting) -> list[Goal]:
    """`ipfs pin add` on a fresh Kubo: by HTTP from us, by Bitswap from a Kubo."""
    goal = Goal("a Kubo fetching from our peer / from another Kubo: rate", 0.8)
    with peer(setting.repo) as ours, setting.kubo() as other:
        other.run("dag", "import", setting.car)
        address = next(address for address in other.json("id")["Addresses"] if "/tcp/" in address)
        for number in range(setting.rounds):
            with setting.memory.lend(), setting.kubo(ours) as kubo:
                by_http = timed(lambda: kubo.run("pin", "add", setting.root))
            with setting.memory.lend(), setting.kubo() as kubo:
                kubo.run("swarm", "connect", address)
                by_bitswap = timed(lambda: kubo.run("pin", "add", setting.root))
            goal.runs.append(by_bitswap / by_http)
            setting.say(f"serve {number}: from our peer {by_http:.2f} s, from a Kubo {by_bitswap:.2f} s")
    return [goal]
