"""`make soak`: hosts die, lie and freeze for `SOAK_MINUTES`; exits with 1 unless every promise held."""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

from .hosts import TESTS
from .report import words, write
from .soak import soak


def main() -> int:
    """Run, write the report, say how it ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 10))
    parser.add_argument("--mib", type=int, default=48, help="of data")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--out", type=Path, default=TESTS.parent / "build" / "soak")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    result = soak(
        options.minutes * 60, mib=options.mib, seed=options.seed, reading_s=2.0,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
    write(result, options.out)
    print("\n".join(words(result)))
    print(f"see {options.out}")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
