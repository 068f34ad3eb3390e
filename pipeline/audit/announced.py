"""`audit_announced`: can pieces be found through the network's index? What the provider says, and what routers say.

Nothing of ours needs it: a manifest says where blocks lie. Others who have a root and no manifest do (IPNI, delegated
routing). So it is told apart from whether the pieces are there, and fails no audit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...configs.roster import Provider
from ...storage.cid import CID
from ...storage.errors import ConfigError, PeerError
from ...storage.names.router import Router
from ...storage.pieces.manifest import PieceManifest
from ...storage.pins.curio import Curio

MAX_PIECES = 20  # asked about, spread over all


@dataclass(frozen=True, slots=True)
class Announcement:
    """Of one provider. `said`: what it says of each piece, and how often ("": it does not say). `found`: of `asked`
    blocks (the root, and the first of each piece) those that a router names this provider for. `problem`: why not all
    was asked.
    """

    name: str
    said: Mapping[str, int]
    asked: int
    found: int
    problem: str = ""


def audit_announced(
    manifest: PieceManifest, providers: Sequence[Provider], routers: Sequence[Router], env: Mapping[str, str]
) -> list[Announcement]:
    """One for each provider, in order. Never raises what a provider or a router did."""
    step = -(-len(manifest.pieces) // MAX_PIECES)
    numbers = range(0, len(manifest.pieces), step)
    blocks = list(dict.fromkeys([manifest.root, *(_first(manifest, number) for number in numbers)]))
    problems: list[str] = []
    hosts = [_hosts(block, routers, problems) for block in blocks] if routers else []
    found = []
    for provider in providers:
        wrong = list(problems[:1])
        said: Counter[str] = Counter()
        for number in numbers:
            try:
                said[Curio(provider, env).announced(manifest.pieces[number].cid)] += 1
            except (PeerError, ConfigError) as error:
                wrong.append(error.message)
                break
        mine = urlsplit(provider.url).netloc.lower()
        count = sum(mine in named for named in hosts)
        found.append(Announcement(provider.name, dict(said), len(hosts), count, wrong[0] if wrong else ""))
    return found


def _first(manifest: PieceManifest, number: int) -> CID:
    return next(iter(manifest.blocks.of_piece(number)))[0]


def _hosts(block: CID, routers: Sequence[Router], problems: list[str]) -> set[str]:
    hosts: set[str] = set()
    for router in routers:
        try:
            hosts |= {urlsplit(url).netloc.lower() for record in router.providers(block) for url in record.urls}
        except PeerError as error:
            problems.append(error.message)
    return hosts
