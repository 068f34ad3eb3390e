"""`python -m benchmarks.loaders.write CLIENT CORPUS FOLDER COUNT [SHARD_BYTES]`: a corpus in a peer's format."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Called by the interpreter of the peer."""
    client, corpus, folder, count, *shard_bytes = sys.argv[1:]
    module = importlib.import_module(f".clients.{client}", __package__)
    module.write(corpus, Path(folder), int(count), *map(int, shard_bytes))


if __name__ == "__main__":
    main()
