"""`audit`: is a dataset still at each provider itself? Leaves drawn from a public seed, fetched, hashed."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ...storage.cid import CID
from ...storage.errors import ConfigError
from ...storage.session import Session, SourcesArgument, choose_sources, locate, user_policy
from ...storage.sources.netguard import NetGuard
from .ask_all import ask_all
from .draw import CONFIDENCE
from .drawn import drawn
from .provider import ProviderVerdict

DEFAULT_SAMPLES = 459  # at 99 %, no failure among so many bounds the loss at 1 % (facts: 1 - 0.01^(1/459))
MAX_SAMPLES = 1_000_000


@dataclass(frozen=True, slots=True)
class AuditResult:
    """All providers, and what to recompute the draw with: root, seed (hex), number of samples."""

    root: CID
    seed: str
    samples: int
    files: int
    total_bytes: int
    providers: tuple[ProviderVerdict, ...]

    @property
    def ok(self) -> bool:
        """Whether every provider passed."""
        return all(provider.ok for provider in self.providers)


def audit(
    uri: str,
    *,
    sources: SourcesArgument = None,
    samples: int = DEFAULT_SAMPLES,
    seed: str | None = None,
    deadline_s: float = 30.0,
    redirects: NetGuard | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> AuditResult:
    """Audit every provider in `sources` (URLs, a roster or its path; None: the default roster).

    `seed`: hex, public; None: 32 random bytes, which the result names. `deadline_s`: for one answer. `on_progress`:
    answers so far, and in all. A provider that stays silent is given up, and holds up no other. Raises `ConfigError`
    (input; a tree without one byte), `UnavailableError` when nobody has the tree itself, `FormatError`,
    `UnsupportedError` for files whose leaves are no ranges of them.
    """
    where = locate(uri, sources)
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"{samples} samples are not possible", hint=f"give --samples 1 to {MAX_SAMPLES}")
    salt = seed_of(seed)
    chosen = [source for source in choose_sources(sources, redirects=redirects) if source.trusted]
    if not chosen:
        raise ConfigError("nobody to audit: routers keep nothing", hint="name providers: --from URL, or in the roster")
    with Session(where, chosen, policy=user_policy(None)) as session:
        drawing = drawn(session.tree, where, salt, samples)
    found = ask_all(chosen, drawing.questions, samples, deadline_s, on_progress)
    return AuditResult(where.root, salt.hex(), samples, len(drawing.sizes), sum(drawing.sizes), found)


def seed_of(text: str | None) -> bytes:
    """The bytes of a seed given in hex; None: 32 random ones. Raises `ConfigError`."""
    if text is None:
        return secrets.token_bytes(32)
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if not 1 <= len(seed) <= 1024:
        raise ConfigError(f"--seed {text[:40]!r} is not hex", hint="give an even number of hex digits, 2 to 2048")
    return seed


__all__ = ["CONFIDENCE", "DEFAULT_SAMPLES", "AuditResult", "ProviderVerdict", "audit", "seed_of"]
