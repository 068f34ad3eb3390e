"""`ask_all`: put the same questions to several providers at once; a slow one holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ...storage.sources.source import Source
from .challenge import Question
from .provider import Auditee, ProviderVerdict

_THREADS = 4  # of each provider
_MAX_THREADS = 64


def ask_all(
    sources: Sequence[Source],
    questions: Callable[[], Iterator[Question]],
    samples: int,
    deadline_s: float,
    on_progress: Callable[[int, int], None],
) -> tuple[ProviderVerdict, ...]:
    """The verdict of each, in their order; `questions` makes the `samples` of them anew. Closes the sources."""
    done = 0
    lock = threading.Lock()

    def count(answers: int) -> None:
        nonlocal done
        with lock:
            done += answers
            on_progress(done, samples * len(sources))

    asked = [Auditee(source, questions(), samples, deadline_s, count) for source in sources]
    threads = max(1, min(_THREADS, _MAX_THREADS // len(asked)))  # its own: a slow one holds up nobody else
    with ThreadPoolExecutor(threads * len(asked), thread_name_prefix="audit") as pool:
        try:
            for work in [pool.submit(each.work) for each in asked for _ in range(threads)]:
                work.result()
        finally:
            for each in asked:
                each.stop()
            pool.shutdown(cancel_futures=True)
            for source in sources:
                source.close()
    return tuple(each.verdict() for each in asked)
