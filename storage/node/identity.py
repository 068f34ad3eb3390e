"""Who a peer is: an Ed25519 key, the same after a restart, whose public half names it (libp2p/specs, peer-ids).

The key is the 32 bytes in `REPO/identity`.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..blocks.verified_file import disk_error
from ..errors import ConfigError
from ..names.key import SEED_BYTES, PrivateKey


def identity(folder: Path) -> PrivateKey:
    """The key in a repository's folder, made at the first call. Raises `StoreError`, `ConfigError`."""
    path = folder / "identity"
    try:
        if not path.exists():
            temporary = folder / f".identity.{secrets.token_hex(4)}"
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(SEED_BYTES))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        secret = path.read_bytes()
    except OSError as error:
        raise disk_error(error, path) from error
    if len(secret) != SEED_BYTES:
        raise ConfigError(
            f"{path} is damaged: {len(secret)} bytes, not {SEED_BYTES}", hint="remove it to get a new name"
        )
    return PrivateKey.of_seed(secret)
