"""Python programs in processes of their own, forked from one that has imported torch: 0.1 s each, not 2 of CPU."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["torch.nn.parallel", "holdfast.loaders.data_loader", "holdfast.pipeline.publish"])


class Program:
    """A script that was started. It calls `answer(value)` once, if at all; `sys.argv` is as for a real one."""

    def __init__(self, script: str, *arguments: object) -> None:
        self._answers, theirs = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_run, args=(script, ["script", *map(str, arguments)], theirs))
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None
        return self._process.pid

    def said(self, timeout_s: float = 100) -> Any:
        """What it answered, while it goes on."""
        assert self._answers.poll(timeout_s), f"no answer within {timeout_s} s"
        return self._answers.recv()

    def answer(self, timeout_s: float = 100) -> Any:
        """What it answered, once it has ended well."""
        assert self._answers.poll(timeout_s), f"no answer within {timeout_s} s"
        try:
            found = self._answers.recv()
        except EOFError:
            raise AssertionError(f"it ended with {self.wait()} and without an answer") from None
        assert self.wait(timeout_s) == 0
        return found

    def wait(self, timeout_s: float = 100) -> int:
        """Its exit code; minus the signal that killed it."""
        self._process.join(timeout_s)
        assert self._process.exitcode is not None, f"still running after {timeout_s} s"
        return self._process.exitcode

    def kill(self) -> None:
        """kill -9, and wait."""
        self._process.kill()
        self.wait()


def answers(script: str, arguments: Sequence[Sequence[object]]) -> list[Any]:
    """What each of several that run at once answered."""
    programs = [Program(script, *one) for one in arguments]
    return [program.answer() for program in programs]


def _run(script: str, argv: list[str], connection: Any) -> None:
    sys.argv = argv
    multiprocessing.set_start_method("fork", force=True)  # as in a process that somebody starts
    exec(compile(script, "<script>", "exec"), {"__name__": "__main__", "answer": connection.send})
