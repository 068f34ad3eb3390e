"""`audit`: is a dataset still at each provider itself? Leaves drawn from a public seed, fetched, hashed."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from ...storage.cid import CID
from ...storage.dag.walk import NoLayoutError
from ...storage.errors import ConfigError, UnsupportedError
from ...storage.fetch.tree import RemoteTree, TreeFile
from ...storage.session import Session, SourcesArgument, choose_sources, user_policy
from ...storage.sources.netguard import NetGuard
from ...storage.sources.source import FileRef, Source
from ...storage.uri import DatasetUri
from .challenge import OK, Answer, Question, ask
from .draw import CONFIDENCE, draw, loss_at_most

DEFAULT_SAMPLES = 459  # at 99 %, no failure among so many bounds the loss at 1 % (facts: 1 - 0.01^(1/459))
MAX_SAMPLES = 1_000_000
_THREADS = 4  # of each provider
_MAX_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class ProviderVerdict:
    """One provider: how many of its answers were of which verdict, and what that says.

    `verdict` is OK when all were; else the worst of them. `loss_at_most`: the part of all bytes that may be missing
    there at `CONFIDENCE`. It says that they can be retrieved through this provider, not where they are stored.
    """

    name: str
    url: str
    verdict: str
    samples: int
    failed: int
    verdicts: dict[str, int]
    loss_at_most: float
    bytes: int
    seconds: float
    first_failure: str = ""

    @property
    def ok(self) -> bool:
        """Whether every answer was right."""
        return self.failed == 0


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


_WORST = ("WRONG_BYTES", "OVERSIZE", "WITHHELD", "MISSING", "TRUNCATED", "SLOW", "FORBIDDEN", "UNREACHABLE")


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
    answers so far, and in all. Raises `ConfigError` (input), `UnavailableError` when nobody has the tree itself,
    `FormatError`, `UnsupportedError` for files whose leaves are no ranges of them.
    """
    where = DatasetUri.parse(uri)
    if not 1 <= samples <= MAX_SAMPLES:
        raise ConfigError(f"{samples} samples are not possible", hint=f"give --samples 1 to {MAX_SAMPLES}")
    salt = _seed(seed)
    chosen = choose_sources(sources, redirects=redirects)
    with Session(where, chosen, policy=user_policy(None)) as session:
        questions, files, total = _questions(session.tree, where, salt, samples)
    done = 0
    lock, stop = threading.Lock(), threading.Event()

    def count(_: Future[Answer]) -> None:
        nonlocal done
        with lock:
            done += 1
            on_progress(done, len(questions) * len(chosen))

    with ThreadPoolExecutor(min(_THREADS * len(chosen), _MAX_BACKLOG), thread_name_prefix="audit") as pool:
        try:
            asked: list[list[Future[Answer]]] = [[] for _ in chosen]
            for question in questions:  # all providers side by side: a slow one does not hold up the others' order
                for source, futures in zip(chosen, asked, strict=True):
                    futures.append(pool.submit(ask, source, question, deadline_s=deadline_s, stop=stop))
                    futures[-1].add_done_callback(count)
            answers = [[future.result() for future in futures] for futures in asked]
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            for source in chosen:
                source.close()
    found = tuple(_verdict(source, given) for source, given in zip(chosen, answers, strict=True))
    return AuditResult(where.root, salt.hex(), samples, files, total, found)


def _questions(tree: RemoteTree, where: DatasetUri, seed: bytes, samples: int) -> tuple[list[Question], int, int]:
    if where.path:
        tree = RemoteTree(tree.engine, where.root, tree.nodes, tree.find(where.path))
    files = [file for file in tree.files(on_link=lambda _path, _target: None) if file.tsize]
    sizes = [file.tsize for file in files]
    refs: dict[int, FileRef] = {}
    questions = []
    for challenge in draw(seed, where.root, sizes, samples):
        if challenge.file not in refs:
            refs[challenge.file] = _ref(tree, files[challenge.file])
        layout = refs[challenge.file].layout
        # a link's size counts the nodes below it, too: bytes behind the end are those of the last leaf
        offset = min(challenge.offset, layout.size - 1)
        leaf = layout.leaves_of(offset, offset + 1)[0]
        questions.append(Question(challenge.number, refs[challenge.file], leaf))
    return questions, len(files), sum(sizes)


def _ref(tree: RemoteTree, file: TreeFile) -> FileRef:
    try:
        return tree.ref(file)
    except NoLayoutError as error:
        raise UnsupportedError(
            f"{file.path} cannot be audited: its leaves are no plain ranges of it",
            hint="publish it with holdfast, or add it to Kubo with --cid-version=1 --raw-leaves",
        ) from error


def _verdict(source: Source, answers: Sequence[Answer]) -> ProviderVerdict:
    verdicts = Counter(answer.verdict for answer in answers)
    failures = [answer for answer in answers if answer.verdict != OK]
    worst = next((verdict for verdict in _WORST if verdicts[verdict]), OK if not failures else failures[0].verdict)
    first = failures[0] if failures else None
    return ProviderVerdict(
        source.name, source.url, worst, len(answers), len(failures), dict(verdicts),
        loss_at_most(len(answers), len(failures)), sum(answer.bytes for answer in answers),
        max((answer.seconds for answer in answers), default=0.0),
        f"leaf {first.question.leaf} of {first.question.file.path}: {first.reason}" if first else "",
    )  # fmt: skip


def _seed(text: str | None) -> bytes:
    if text is None:
        return secrets.token_bytes(32)
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if not 1 <= len(seed) <= 1024:
        raise ConfigError(f"--seed {text[:40]!r} is not hex", hint="give an even number of hex digits, 2 to 2048")
    return seed


__all__ = ["CONFIDENCE", "DEFAULT_SAMPLES", "AuditResult", "ProviderVerdict", "audit"]
