"""`python -m holdfast.loaders.fetcher CACHE READY LINGER`: serve a cache folder.

READY is a descriptor that gets "1" once clients can connect, "0" when another fetcher has the folder; LINGER how many
seconds to stay without any.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from ...storage.open_files import allow_many_files
from .service import Fetcher, stop_on_signals
from .surroundings import settle


def main() -> int:
    """Serve the cache folder until nobody needs it."""
    folder, ready = Path(sys.argv[1]).absolute(), int(sys.argv[2])
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    settle()
    allow_many_files()  # two for each client, two for each file: the soft limit is that of who started it
    fetcher = Fetcher(folder, linger_s=float(sys.argv[3]))
    stop_on_signals(fetcher)

    def tell(what: bytes) -> None:
        with suppress(BrokenPipeError):  # who started it was killed: others may come
            os.write(ready, what)
        os.close(ready)

    if not fetcher.run(lambda: tell(b"1")):
        tell(b"0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
