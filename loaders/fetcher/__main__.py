"""`python -m holdfast.loaders.fetcher CACHE READY LINGER`: serve a cache folder.

READY is a descriptor that gets a byte once clients can connect, LINGER how many seconds to stay without any.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from .service import Fetcher, stop_on_signals


def main() -> int:
    """Serve the cache folder until nobody needs it."""
    folder, ready = Path(sys.argv[1]), int(sys.argv[2])
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
    fetcher = Fetcher(folder, linger_s=float(sys.argv[3]))
    stop_on_signals(fetcher)

    def on_ready() -> None:
        with suppress(BrokenPipeError):  # who started it was killed: others may come
            os.write(ready, b"1")
        os.close(ready)

    fetcher.run(on_ready)
    return 0


if __name__ == "__main__":
    sys.exit(main())
