"""`make crash`: a thousand kills over everything that writes; prints what it saw, exits with 1 if any was wrong."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from crash.killing import run
from crash.scenarios import scenarios, world


def main() -> int:
    """Run, print the table, say how it ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="in all")
    parser.add_argument("--mib", type=int, default=32, help="of data in each scenario")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--only", default="", help="scenarios whose name begins so")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.mib} MiB of data", flush=True)
    numbers = random.Random(options.seed)
    tallies = []
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-crash-") as folder,
        world(Path(folder) / "world", options.mib << 20, options.seed) as made,
    ):
        chosen = [scenario for scenario in scenarios(made) if scenario.name.lower().startswith(options.only.lower())]
        for number, scenario in enumerate(chosen):
            kills = options.kills // len(chosen) + (number < options.kills % len(chosen))
            tallies.append(run(scenario, Path(folder) / scenario.name.replace(" ", "-"), kills, numbers))
            tally = tallies[-1]
            print(
                f"{tally.name:16} {tally.kills:5} kills {tally.ends:4} ends {len(tally.wrong):3} wrong"
                f" {tally.kills / max(tally.ends, 1):5.1f} kills an end, {100 * tally.repeated:6.1f} % of the bytes"
                f" moved again ({tally.seconds:.0f} s)",
                flush=True,
            )
            for line in tally.wrong:
                print(f"  {line}", flush=True)
    wrong = sum(len(tally.wrong) for tally in tallies)
    kills = sum(tally.kills for tally in tallies)
    print(f"{kills} kills: {wrong} torn, wrong or lost")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
