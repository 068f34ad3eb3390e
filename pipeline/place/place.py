"""`place`: have every provider of a roster keep a root, at once; note what each promised and what was proven.

Two steps. All are asked, and fetch or are sent what they lack. Then, with nothing of ours to be fetched from any more,
each of them is read back alone: what it gives now it has, or gets from somebody else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ...configs.roster import Provider, Roster
from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID
from ...storage.errors import ConfigError
from ...storage.pins.targets import TARGET_KINDS
from .at_once import each
from .origin import origins_towards
from .pieces import PieceKeepers, PiecePlacing
from .placing import OnPlaced, PlaceOptions, Placing
from .read_back import ReadBack
from .state import Placed, Placements


def keepers_of(roster: Roster) -> list[Provider]:
    """The providers of a roster that can be asked to keep a DAG. Raises `ConfigError` when nobody keeps anything."""
    found = [provider for provider in roster.providers if provider.kind in TARGET_KINDS]
    if not found and roster.filecoin is None:
        raise ConfigError("nobody in the roster keeps data", hint=f"add a provider of kind {', '.join(TARGET_KINDS)}")
    return found


def place(
    store: DiskStore,
    root: CID,
    name: str,
    providers: Sequence[Provider],
    placements: Placements,
    *,
    pieces: PieceKeepers | None = None,
    options: PlaceOptions | None = None,
    env: Mapping[str, str] | None = None,
    on_placed: OnPlaced = lambda _: None,
) -> list[Placed]:
    """One clear state for each provider, in their order; what one does wrong stops no other. `pieces`: Filecoin too,
    whose rows come last; what cannot be paid there, or must not be, raises before anybody is asked.

    Said again, it asks only for what is not there yet. The whole DAG must be in the repository where a provider is
    sent it, and for anything to count as proven. `on_placed` is told of each change of state, from several threads.
    Raises `ConfigError` and `StoreError` before anybody is asked. An interrupt ends the calls under way.
    """
    options, env = options or PlaceOptions(), os.environ if env is None else env
    read_back = ReadBack(store, root, options.leaves)
    stop = threading.Event()
    jobs = [Placing(store, root, name, one, placements, options, env, on_placed, stop) for one in providers]
    paid = None
    if pieces is not None:
        paid = PiecePlacing(store, root, name, pieces, placements, options, env, on_placed, stop)
        paid.prepare()
    pulling = [job.provider.url for job in jobs if not job.takes_cars]
    with origins_towards(store, pulling, options.origins) as origins:
        asks: list[Callable[[], None]] = [
            partial(job.ask, () if job.takes_cars else origins(job.provider.url)) for job in jobs
        ]
        each([*asks, *([paid.ask] if paid else [])], _do, stop, outermost=True)
    proofs = [partial(job.prove, read_back) for job in (*jobs, *((paid,) if paid else ()))]
    each(proofs, _do, stop, outermost=True)
    return [*(job.placed for job in jobs), *(paid.placed if paid else ())]


def _do(step: Callable[[], None]) -> None:
    step()
