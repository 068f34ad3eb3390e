"""`advance`: the next record of a name. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..cid import CID
from ..dag.dagcbor import Value
from ..errors import ConfigError
from .key import PrivateKey
from .moment import S, format_moment
from .record import DEFAULT_TTL_NS, PARENT, PUBLISHED, Record, sign_record

DEFAULT_LIFETIME_NS = 48 * 3600 * S  # what Kubo gives, and as long as a DHT keeps records


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a record counts, and how long a reader need not ask again. Raises `ConfigError` where these clash."""

    lifetime_ns: int = DEFAULT_LIFETIME_NS
    ttl_ns: int = DEFAULT_TTL_NS

    def __post_init__(self) -> None:
        if not 0 < self.ttl_ns <= self.lifetime_ns:
            raise ConfigError(
                f"a TTL of {self.ttl_ns / S:g} s and a lifetime of {self.lifetime_ns / S:g} s",
                hint="the TTL must be above 0 and not longer than the lifetime",
            )


def advance(
    key: PrivateKey, value: str, before: Record | None, now_ns: int, lifetime: Lifetime | None = None
) -> Record:
    """A record for the content path `value` (as a rule `/ipfs/CID`) that replaces `before`, the newest one known.

    A new value takes the next sequence, and notes the one before it as its parent. The same value again keeps both and
    ends later (specification, "Record Selection": the later validity wins); one that is to end sooner than `before`
    takes the next sequence, for else nobody would follow it. Raises `ConfigError` where sequences are used up.
    """
    lifetime = lifetime or Lifetime()
    same = before is not None and before.value == value
    extra: dict[str, Value] = {PUBLISHED: format_moment(now_ns)}
    parent = before.parent if before is not None and same else before.value if before is not None else None
    if parent is not None:
        extra[PARENT] = parent
    ends_ns = now_ns + lifetime.lifetime_ns
    sequence = 0 if before is None else before.sequence + (not same or ends_ns <= before.validity_ns)
    return sign_record(key, value, sequence=sequence, validity_ns=ends_ns, ttl_ns=lifetime.ttl_ns, extra=extra)


def path_of(root: CID) -> str:
    """The value of a record that points at a root."""
    return f"/ipfs/{root.v1()}"
