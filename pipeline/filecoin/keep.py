"""`Keeping`: have the pieces of a dataset kept on Filecoin: what the plan is, and each copy of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ...configs.filecoin import Filecoin
from ...configs.roster import Provider
from ...storage.blocks.disk import DiskStore
from ...storage.chain.deployment import Deployment
from ...storage.errors import ConfigError
from ...storage.pieces.car_piece import piece_bytes
from ...storage.pieces.manifest import PieceManifest
from ...storage.pieces.piece_cid import PieceCID
from ...storage.pins.curio import Curio
from .allowance import Allowance
from .copying import Copying, Pace
from .journal import CopyState
from .messages import Messages
from .plan import Plan, PlannedCopy, journal_of, payer_of, plan
from .standing import Standing


class Keeping:
    """The pieces of one manifest at the providers of one plan. Construction asks nobody; `plan` reads the chain."""

    def __init__(
        self, store: DiskStore, manifest: PieceManifest, table: Filecoin, entries: Sequence[Provider],
        env: Mapping[str, str], *, pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self._store, self._manifest, self._table, self._entries = store, manifest, table, entries
        self._env, self._pace = env, pace or Pace()
        self._allowance = Allowance(None)
        self._numbers = {piece.cid: number for number, piece in enumerate(manifest.pieces)}

    def plan(self) -> Plan:
        """See `plan`. Its copies share the ceiling."""
        found = plan(self._manifest, self._table, self._entries, self._store.folder, self._env)
        self._allowance = Allowance(self._table.ceiling)
        return found

    def keep(
        self,
        copy: PlannedCopy,
        source: str | None,
        on_bytes: Callable[[int, int], None] = lambda _done, _total: None,
        on_state: Callable[[CopyState], None] = lambda _: None,
    ) -> Standing:
        """One copy, until all of it is on the chain. `source`: the URL of a provider that has all pieces.

        Raises as `Copying.run` does.
        """
        deployment = Deployment.of(self._table, self._env)
        wallet, payer = payer_of(self._table, self._env)
        if wallet is None:
            raise ConfigError("[filecoin] names no key to sign with", hint="add key_env or key_file")
        journal = journal_of(self._store.folder, deployment, payer)
        curio = Curio(copy.entry, self._env, copy.guard)
        messages = Messages(deployment, self._table, wallet, payer, copy.provider, self._pace.check)
        copying = Copying(
            deployment,
            self._table,
            messages,
            payer,
            copy.provider,
            curio,
            journal,
            on_state,
            self._pace,
            self._allowance,
        )
        sent, total = 0, copy.quote.bytes

        def read(piece: PieceCID) -> Iterable[bytes]:
            return counted(piece_bytes(self._store, self._manifest, self._numbers[piece]))

        def counted(parts: Iterable[bytes]) -> Iterator[bytes]:
            nonlocal sent
            for part in parts:
                yield part
                sent += len(part)
                on_bytes(sent, total)

        pieces = [piece.cid for piece in self._manifest.pieces]
        return copying.run(pieces, read, source)


def refuse(planned: Plan) -> None:
    """Raise `ConfigError` with the first reason why a plan must not be carried out."""
    if planned.problems:
        raise ConfigError(
            f"nothing was sent or signed for Filecoin: {planned.problems[0]}",
            hint="`holdfast piece quote URI --to ROSTER` shows all of it, `holdfast piece fund` deposits and approves",
        )
