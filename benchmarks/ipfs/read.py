"""`holdfast get` from two Kubo gateways, beside `ipfs get` by Bitswap from the same two; and from limited ones."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial

from ..goal import Goal
from ..servers import faults
from .setting import Setting, timed

_LIMIT = "200MB/s"


def goals(setting: Setting) -> list[Goal]:
    """The same bytes to disk (in memory), each verified by its own program."""
    bitswap = Goal("get from two Kubo gateways / ipfs get by Bitswap from the same two: rate", 3.0)
    both = Goal(f"get from two gateways of {_LIMIT} / from one of them: rate", 1.5)
    with ExitStack() as stack:
        kubos = [stack.enter_context(setting.kubo()) for _ in range(2)]
        for kubo in kubos:
            kubo.run("dag", "import", setting.car)
        limited = [stack.enter_context(faults(kubo.gateway, "--rate", _LIMIT)) for kubo in kubos]
        for number in range(setting.rounds):
            ours = _get(setting, [kubo.gateway for kubo in kubos])
            with setting.kubo() as third:
                for kubo in kubos:
                    third.run("swarm", "connect", _address(kubo.json("id")["Addresses"]))
                target = setting.work / "bitswap"
                with setting.memory.lend():
                    theirs = timed(partial(third.run, "get", "-o", target, f"/ipfs/{setting.root}"))
                shutil.rmtree(target)
            one, two = (_get(setting, urls) for urls in (limited[:1], limited))
            bitswap.runs.append(theirs / ours)
            both.runs.append(one / two)
            setting.say(
                f"read {number}: gateways {ours:.2f} s, Bitswap {theirs:.2f} s; limited: {one:.2f}, {two:.2f} s"
            )
    return [bitswap, both]


def _get(setting: Setting, urls: list[str]) -> float:
    """Seconds of the command; to make memory ready, and to remove what came, is no part of it."""
    folder = setting.work / "got"
    sources = [part for url in urls for part in ("--from", url)]
    with setting.memory.lend():
        seconds = timed(lambda: setting.holdfast("get", setting.root, folder, *sources))
    shutil.rmtree(folder)
    return seconds


def _address(addresses: list[str]) -> str:
    return next(address for address in addresses if "/tcp/" in address)
