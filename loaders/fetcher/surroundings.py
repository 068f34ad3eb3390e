"""What a process is surrounded by that decides how it reaches sources: a fetcher in others must not fetch for it."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

_TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "OPENSSL_CONF", "OPENSSL_MODULES")


def tls_paths() -> dict[str, str]:
    """Where OpenSSL looks for what it trusts, and for its settings: absolute, whichever folder a process works in."""
    return {name: _absolute(os.environ[name]) for name in _TLS if os.environ.get(name)}


def _absolute(paths: str) -> str:
    return os.pathsep.join(str(Path(path).absolute()) for path in paths.split(os.pathsep) if path)


def surroundings() -> dict[str, str]:
    """Proxies and certificates of this process."""
    bypass = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return {**urllib.request.getproxies(), "bypass": bypass, **tls_paths()}


def settle() -> None:
    """Leave the folder where this process was started: it would keep its mount busy."""
    os.environ.update(tls_paths())
    os.chdir("/")
