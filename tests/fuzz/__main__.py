"""`python -m fuzz SECONDS [TARGET …]`: a coverage-guided fuzzer on every parser, one process after the other.

What it learns stays in `build/fuzz/corpus`. An input that breaks a parser is printed as hex, and the exit code is 1:
put it into `tests/fuzz/found/<target>-<number>.hex`, and repair the parser.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLACE = Path(__file__).parents[2] / "build" / "fuzz"
MIN_SECONDS = 2
LIMITS = ["-max_len=8192", "-timeout=20", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=0"]


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        return _fuzz(arguments[1], arguments[2:])
    from .targets import TARGETS

    seconds = float(arguments[0]) if arguments else 60.0
    names = arguments[1:] or list(TARGETS)
    share = max(int(seconds / len(names)), MIN_SECONDS)
    broken = 0
    for name in names:
        seeds, corpus, crashes = (PLACE / kind / name for kind in ("seeds", "corpus", "crashes"))
        for folder in (seeds, corpus, crashes):
            folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(TARGETS[name].seeds()):
            (seeds / str(number)).write_bytes(seed)
        known = set(crashes.iterdir())
        command = [sys.executable, "-m", "fuzz", "--one", name, str(corpus), str(seeds), f"-max_total_time={share}",
                   f"-artifact_prefix={crashes}/", *LIMITS]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        found = sorted(set(crashes.iterdir()) - known)
        print(f"{name}: {share} s, {len(list(corpus.iterdir()))} inputs in the corpus, {len(found)} broke it")
        if done.returncode or found:
            broken += 1
            print(done.stderr[-4000:])
            for path in found:
                print(f"input: {path.read_bytes().hex()}")
    return 1 if broken else 0


def _fuzz(name: str, options: list[str]) -> int:
    try:
        import atheris
    except ModuleNotFoundError:
        print("the fuzzer is not installed: pip install 'holdfast[fuzz]'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["holdfast"]):
        from .targets import TARGETS
    target = TARGETS[name]
    target.seeds()  # what it has to make first is no part of a run

    def one(data: bytes) -> None:
        try:
            target.run(data)
        except target.errors:
            pass

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
