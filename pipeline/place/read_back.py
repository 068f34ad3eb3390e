"""`ReadBack`: leaves drawn at random, asked of one provider alone and hashed: what makes a promise count (T24)."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable
from contextlib import nullcontext

from ...storage.blocks.disk import DiskStore
from ...storage.cid import CID
from ...storage.dag.steps import children
from ...storage.errors import ConfigError, PeerError, UnavailableError, UnsupportedError
from ...storage.session import Session, user_policy
from ...storage.sources.local import Local
from ...storage.sources.source import Source
from ...storage.sources.transfer import Transfer
from ...storage.sources.watch import Watch
from ...storage.uri import DatasetUri
from ..audit.challenge import OK, ask
from ..audit.drawn import Drawn, drawn

DEFAULT_LEAVES = 8  # of a dataset that lacks a tenth, 57 % of such looks notice; `holdfast audit` asks for more
DEADLINE_S = 30.0  # of one answer


class ReadBack:
    """The leaves of one root to be asked for, drawn once, out of the repository: the same for every provider.

    `by_blocks`: by random walks down from the root, which need no list of files: for a leaf each of many roots.
    Construction reads the repository: raises `StoreError` for one that fails, not for one that lacks the root.
    """

    def __init__(self, store: DiskStore, root: CID, leaves: int = DEFAULT_LEAVES, *, by_blocks: bool = False) -> None:
        self._store, self._root, self.leaves = store, root, leaves
        self._drawn: Drawn | None = None
        self.possible = store.has(root)
        if self.possible and not by_blocks:
            try:
                self._drawn = self._draw()
            except (UnsupportedError, ConfigError):
                pass  # no dataset: its blocks, then
            except UnavailableError:
                self.possible = False

    def problem(self, source: Source, check: Callable[[], None] = lambda: None, watch: Watch | None = None) -> str:
        """Ask for all of them; "" when each was right, else the first answer that was not. `check` may end it.

        `watch`: one that many share.
        """
        if self._drawn is None:
            with nullcontext(watch) if watch is not None else Watch(DEADLINE_S) as watching:
                return self._blocks(source, check, watching)
        for question in self._drawn.questions():
            check()
            answer = ask(source, question, deadline_s=DEADLINE_S, stop=threading.Event())
            if answer.verdict != OK:
                return f"{answer.verdict}: {question}: {answer.reason}"
        return ""

    def _draw(self) -> Drawn:
        where = DatasetUri(self._root)
        with Session(where, [Local(self._store)], policy=user_policy()) as session:
            return drawn(session.tree, where, secrets.token_bytes(32), self.leaves)

    def _blocks(self, source: Source, check: Callable[[], None], watch: Watch) -> str:
        """Random walks from the root down, a block at the end of each."""
        for _ in range(self.leaves):
            check()
            cid = self._root
            while below := children(cid.codec, self._store.get(cid).data):
                cid = random.choice(below)
            transfer = Transfer()
            try:
                with watch.over(transfer):
                    data = source.fetch_block(cid, self._root, transfer)
            except PeerError as error:
                return f"{error.verdict}: block {cid.short()}: {error.message}"
            if not cid.matches(data):
                return f"WRONG_BYTES: block {cid.short()}"
        return ""
