"""`Tally`: what a peer counts while it runs. Plain numbers, touched only in the event loop."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field

FORMAT: ContextVar[str] = ContextVar("format", default="other")  # of the request at hand: aiohttp runs each in a task


@dataclass(slots=True)
class Tally:
    """Since the start: `requests` by (format, status), `sent_bytes` of content by format, `refused` by kind.

    Kinds of refusals: `requests` and `requests_per_client` (429), `connections` and `connections_per_client` (429),
    `slow_reader`, `slow_request` and `idle` (connection closed). A status of "cut" is an answer that was not whole.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
