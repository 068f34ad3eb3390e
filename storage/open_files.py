"""How many files and connections this process may have open: a server is not bound by its starter's soft limit."""

from __future__ import annotations

import resource

_MANY_FILES = 65536  # of a peer: 8192 connections, 512 requests, each with a file, and the files that pins fill


def allow_many_files() -> None:
    """Raise the soft limit to the hard one, or to as many as a server of ours can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
