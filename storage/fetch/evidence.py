"""`Evidence`: wrong bytes kept on disk, so that a claim against a source can be shown to others."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path

from ..blocks.atomic import write_atomic
from ..cid import CID
from ..errors import StoreError

MAX_ITEMS, MAX_ITEMS_OF_ONE = 64, 16
MAX_ITEM_BYTES = 2 << 20


class Evidence:
    """A folder of `<n>-<source>.bin` (the bytes that came) and `.json` (who, what was asked, when).

    At most 64 items, 16 of one source: the first ones say enough, and a hostile source must not fill the disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def keep(self, source: str, url: str, cid: CID, data: bytes | memoryview) -> None:
        """Record one wrong answer. Never raises: evidence is not worth a run."""
        with self._lock:
            try:
                count = len(list(self.folder.glob("*.json"))) if self.folder.exists() else 0
                who = re.sub(r"[^A-Za-z0-9.-]+", "_", source)[:60]
                own = len(list(self.folder.glob(f"*-{who}.json"))) if count else 0
                if count >= MAX_ITEMS or own >= MAX_ITEMS_OF_ONE:
                    return
                stem = f"{time.time_ns()}-{who}"
                record = {
                    "source": source,
                    "url": url,
                    "cid": str(cid),
                    "bytes": len(data),
                    "hashes_to": str(CID.of(cid.codec, data)),
                    "received_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                }
                write_atomic(self.folder / f"{stem}.bin", bytes(data[:MAX_ITEM_BYTES]), durable=False)
                write_atomic(self.folder / f"{stem}.json", json.dumps(record, indent=1).encode(), durable=False)
            except (StoreError, OSError):
                return
