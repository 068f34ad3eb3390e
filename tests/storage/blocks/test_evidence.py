"""Evidence of wrong answers: enough to show, never enough to fill a disk."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from holdfast.storage.cid import CID, RAW
from holdfast.storage.fetch.evidence import MAX_ITEM_BYTES, MAX_ITEMS, MAX_ITEMS_OF_ONE, Evidence


def test_what_came_is_kept_with_who_sent_it_and_what_was_asked(tmp_path: Path) -> None:
    wanted = CID.of(RAW, b"right")
    Evidence(tmp_path / "e").keep("a/../b: c", "http://x", wanted, memoryview(b"wrong"))
    (record,) = (tmp_path / "e").glob("*.json")
    found = json.loads(record.read_text())
    assert found["source"] == "a/../b: c"
    assert (found["url"], found["cid"], found["bytes"]) == ("http://x", str(wanted), 5)
    assert found["hashes_to"] == str(CID.of(RAW, b"wrong"))
    assert record.with_suffix(".bin").read_bytes() == b"wrong"
    assert record.parent == tmp_path / "e", "a source's name is no path"


def test_it_is_bounded_at_64_items_of_2_mib(tmp_path: Path) -> None:
    evidence = Evidence(tmp_path)
    evidence.keep("s", "u", CID.of(RAW, b""), bytes(MAX_ITEM_BYTES + 1000))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) == MAX_ITEM_BYTES
    threads = [
        threading.Thread(
            target=lambda who=f"s{n}": [evidence.keep(who, "u", CID.of(RAW, b""), b"x") for _ in range(30)]
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("*.json"))) == len(list(tmp_path.glob("*.bin"))) == MAX_ITEMS == 64
    assert len(list(tmp_path.glob("*-s3.json"))) <= MAX_ITEMS_OF_ONE, "one early liar does not fill it"
    Evidence(tmp_path).keep("s", "u", CID.of(RAW, b""), b"x")
    assert len(list(tmp_path.iterdir())) == 2 * MAX_ITEMS, "nor does another run add to it"


def test_it_never_stops_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    Evidence(tmp_path / "file" / "below").keep("s", "u", CID.of(RAW, b""), b"x")
    assert (tmp_path / "file").read_bytes() == b""
