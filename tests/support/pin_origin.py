"""What is pinned in tests: some files as a mirror has them, and how a peer fetches them there."""

import random

from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.sources.netguard import NetGuard

from .trees import LEAF

LOOPBACK = NetGuard.parse(["127.0.0.0/8"])
QUICK = FetchPolicy(progress_deadline_s=2.0)
FILES = {
    "data/a.bin": random.Random(1).randbytes(40 * LEAF + 5),
    "data/copy.bin": random.Random(1).randbytes(40 * LEAF + 5),
    "data/small": b"small",
    "data/small too": b"small",
    "empty": b"",
}
TOTAL = sum(map(len, FILES.values()))
