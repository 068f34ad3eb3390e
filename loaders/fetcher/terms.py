"""`Terms`: what a client wants fetched on: sources, limits, and the secrets that its environment holds for them.

Clients with equal terms share one engine, and so one scoreboard.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from ...storage.fetch.policy import FetchPolicy
from ...storage.limits import TransferLimits
from ...storage.sources.from_urls import sources_of_urls
from ...storage.sources.netguard import NetGuard
from ...storage.sources.source import Source
from .wire import Words


@dataclass(frozen=True, slots=True)
class Terms:
    """`given`: URLs, or the text of a roster. `env`: the variables that the roster names. `allowed`: CIDR ranges."""

    given: tuple[str, ...] | str
    env: tuple[tuple[str, str], ...]
    allowed: tuple[str, ...]
    policy: FetchPolicy

    def words(self) -> Words:
        """As a message."""
        return {
            "given": self.given if isinstance(self.given, str) else list(self.given),
            "env": dict(self.env),
            "allowed": list(self.allowed),
            "policy": asdict(self.policy),
        }

    @classmethod
    def parse(cls, words: Words) -> Terms:
        """Read a message. Raises `ValueError`, `TypeError` or `KeyError`."""
        policy = dict(words["policy"])
        known = {field.name for field in fields(FetchPolicy)}
        limits = TransferLimits(**policy.pop("transfer"))
        given = words["given"]
        return cls(
            given if isinstance(given, str) else tuple(map(str, given)),
            tuple(sorted((str(name), str(value)) for name, value in words["env"].items())),
            tuple(map(str, words["allowed"])),
            FetchPolicy(**{name: value for name, value in policy.items() if name in known}, transfer=limits),
        )

    def sources(self) -> list[Source]:
        """Made anew. Raises `ConfigError`."""
        guard = NetGuard.parse(self.allowed)
        if not isinstance(self.given, str):
            return sources_of_urls(self.given, guard)
        from ...configs.roster import Roster  # 60 ms: only who has a roster pays
        from ...storage.sources.from_roster import sources_of

        return sources_of(Roster.parse(self.given, "roster"), env=dict(self.env), redirects=guard)
