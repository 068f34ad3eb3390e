"""`Behaviour`: what a fault server does wrong, to which requests. A plain value."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

# The verdict that a reader should come to → the ways to earn it; the first is the default.
VARIANTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # as it should be; chunked; the whole file whatever Range asks for; closing after each answer
        "OK": ("honest", "chunked", "whole-file", "close"),
        # one bit; zeros; two leaves in each other's place; a neighbour's bytes; a range that lies beside
        "WRONG_BYTES": ("one-bit", "zeros", "swapped", "neighbour", "shifted", "wrong-range", "status-line",
                        "endless-headers", "huge-header", "encoding"),
        # cut under a full length; a shorter length; chunks that end early, cleanly or not; sizes that are no numbers
        "TRUNCATED": ("cut", "short", "chunked-end", "chunked-cut", "chunk-size"),
        # a longer body under its length; a length that lies; a body without end, under a length or in chunks
        "OVERSIZE": ("longer", "lying-length", "endless", "endless-chunked"),
        # a byte every `drip_s`; silence before the head; after `at` bytes of the body; connections not accepted
        "SLOW": ("drip", "stall-head", "stall-body", "stall-accept", "drip-head"),
        "MISSING": ("404",),
        "WITHHELD": ("410", "451", "403", "401"),
        # nobody listens; a reset; a status; 302 to `location`; 302 to itself
        "UNREACHABLE": ("refused", "reset", "500", "503", "429", "redirect", "redirect-loop"),
    }
)  # fmt: skip
WHOLE_SERVER = ("refused", "stall-accept")  # these are of the listening socket: paths and shares mean nothing to them


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Play `verdict` in the way `variant` to the requests whose path fits `paths` (a glob, without the first slash).

    Of those, a `share` (drawn from `seed` and the request's number), from number `first` until before `last`.
    Numbers count the requests that fit, since `FaultServer.play`.
    """

    verdict: str = "OK"
    variant: str = ""
    paths: str = "*"
    share: float = 1.0
    first: int = 0
    last: int | None = None
    seed: int = 0
    at: int | None = None  # which body byte: flipped (default: the middle), or the last before a cut or a stall (0)
    unit: int = 16384  # bytes that `swapped` exchanges and `shifted` moves by
    extra: int = 1  # bytes that `longer` adds
    drip_s: float = 0.2  # between bytes
    retry_after: str = ""
    location: str = ""

    def __post_init__(self) -> None:
        known = VARIANTS.get(self.verdict)
        if known is None:
            raise ValueError(f"verdict {self.verdict!r} is none of {', '.join(VARIANTS)}")
        if not self.variant:
            object.__setattr__(self, "variant", known[0])
        if self.variant not in known:
            raise ValueError(f"{self.verdict} has the variants {', '.join(known)}, not {self.variant!r}")

    def fits(self, path: str) -> bool:
        """Whether requests for `path` are its business."""
        return fnmatchcase(path, self.paths)

    def strikes(self, number: int) -> bool:
        """Whether the request of this number (among those that fit) is one of its share."""
        if number < self.first or (self.last is not None and number >= self.last):
            return False
        return self.share >= 1 or random.Random(f"{self.seed}:{number}").random() < self.share


HONEST = Behaviour()
