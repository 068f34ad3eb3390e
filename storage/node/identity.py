"""The name of a peer, the same after a restart.

Not a libp2p peer ID: those name a key, and this peer has none yet. It is the CID of 32 random bytes in
`REPO/identity`, which stay secret so that a key can be derived from them one day.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..blocks.verified_file import disk_error
from ..cid import CID, RAW
from ..errors import ConfigError

_BYTES = 32


def peer_id(folder: Path) -> CID:
    """The CID (v1, raw) of the identity in a repository's folder, made at the first call. Raises `StoreError`."""
    path = folder / "identity"
    try:
        if not path.exists():
            temporary = folder / f".identity.{secrets.token_hex(4)}"
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        secret = path.read_bytes()
    except OSError as error:
        raise disk_error(error, path) from error
    if len(secret) != _BYTES:
        raise ConfigError(f"{path} is damaged: {len(secret)} bytes, not {_BYTES}", hint="remove it to get a new name")
    return CID.of(RAW, secret)
