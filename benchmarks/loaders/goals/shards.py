"""Time to the first sample of a million shards, beside that of a hundred."""

from __future__ import annotations

from ... import child
from ...goal import Goal
from ..synthetic import Synthetic, serving
from .setting import Setting

_MANY, _FEW = 1_000_000, 100
_LEAF, _SEQ_LEN = 16 << 10, 16


def goals(setting: Setting) -> list[Goal]:
    """Shards of 64 bytes from a mirror on loopback, an empty cache, a new process each."""
    many = max(1000, int(_MANY * setting.scale))
    goal = Goal(f"time to the first sample: {many:,} shards / {_FEW}", 2.0, at_least=False)
    setting.say(f"building {many:,} shards …")
    datasets = [Synthetic(count, 64, _LEAF).build() for count in (_FEW, many)]
    with serving(datasets[0]) as few_url, serving(datasets[1]) as many_url:
        for _ in range(setting.rounds):
            few = child.run("first", datasets[0].uri, few_url, str(_SEQ_LEN))
            most = child.run("first", datasets[1].uri, many_url, str(_SEQ_LEN))
            goal.runs.append(most.seconds / few.seconds)
            memory = (most.peak_pss - few.peak_pss) / 1e6
            goal.detail = f"{few.seconds:.2f} s and {most.seconds:.2f} s, {memory:.0f} MB more"
            setting.say(f"{goal.name}: {goal.detail}")
    return [goal]
