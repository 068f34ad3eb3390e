"""`publish --to` a fresh Kubo, beside `ipfs dag import` of a ready CAR with the same blocks."""

from __future__ import annotations

import shutil
from functools import partial

from ..goal import Goal
from .setting import Setting, timed


def goals(setting: Setting) -> list[Goal]:
    """Kubo is the limit: nothing of ours may add to it. Reading back is ours, and is counted apart."""
    goal = Goal("publish --to a fresh Kubo / ipfs dag import of a ready CAR: rate", 0.9)
    for number in range(setting.rounds):
        repo = setting.work / "repo"
        with setting.memory.lend(), setting.kubo() as kubo:
            theirs = timed(lambda: kubo.run("dag", "import", "--pin-roots", setting.car))
        setting.holdfast(
            "publish", setting.source, "--name", "b", "--repo", repo, *_TOKENS
        )  # hashed before, as the CAR
        with setting.memory.lend(), setting.kubo() as kubo:
            roster = setting.work / "roster.toml"
            roster.write_text(
                f'[[provider]]\nname = "k"\nkind = "kubo"\nurl = "{kubo.api}"\ngateway = "{kubo.gateway}"\n'
            )
            command = ("publish", setting.source, "--name", "b", "--repo", repo, "--to", roster, *_TOKENS)
            ours = timed(partial(setting.holdfast, *command))
        shutil.rmtree(repo)
        goal.runs.append(theirs / ours)
        rate = setting.bytes / ours / 1e6
        setting.say(f"push {number}: ipfs dag import {theirs:.2f} s, publish --to {ours:.2f} s ({rate:.0f} MB/s)")
    goal.detail = f"{setting.bytes / 1e9:.1f} GB in files of 64 MiB; Python's start, pinning and reading back included"
    return [goal]


_TOKENS = ("--format", "tokens", "--dtype", "uint16")
