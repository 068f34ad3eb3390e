"""Every error of the storage layer, by blame.

* `PeerError`: a source answered wrongly, late or not at all. Other sources may do.
* `IntegrityError`: bytes do not match the hash that names them.
* `FormatError`: foreign bytes (a block, a CAR, a manifest) break their format or a limit.
* `StoreError`: our disk.
* `UnavailableError`: every source was tried, or the deadline passed.
* `ConfigError`: the user's input.

Caller mistakes are `ValueError` or `TypeError`, sequencing mistakes `RuntimeError`.
"""

from __future__ import annotations

from ..configs.errors import ConfigError, HoldfastError

__all__ = [
    "BlockMissingError",
    "ConfigError",
    "DiskFullError",
    "FileChangedError",
    "ForbiddenAddressError",
    "FormatError",
    "HashMismatchError",
    "HoldfastError",
    "IncompleteError",
    "IntegrityError",
    "LeafMissingError",
    "MissingError",
    "OversizeError",
    "PeerError",
    "QuotaError",
    "SignatureError",
    "SlowError",
    "StaleNameError",
    "StoreError",
    "TruncatedError",
    "UnavailableError",
    "UnreachableError",
    "UnsupportedError",
    "WithheldError",
    "WrongBytesError",
]


class IntegrityError(HoldfastError):
    """Bytes are not those that their name promises, and no better ones could be had."""

    kind = "integrity"
    exit_code = 4


class HashMismatchError(IntegrityError):
    """The hash of these bytes is not the one in the CID. Raised before anything is stored."""


class SignatureError(IntegrityError):
    """A record that is not signed by the key that its name is. It says nothing about where the name points."""


class FormatError(HoldfastError):
    """Foreign bytes break their format, or a limit on it. The bytes may well match their hash."""

    kind = "format"
    exit_code = 4


class UnsupportedError(FormatError):
    """Well-formed, but of a kind (codec, hash, layout, format version) that this version does not read."""

    kind = "unsupported"


class StoreError(HoldfastError):
    """Our own disk: unreadable, inconsistent, full."""

    kind = "store"
    exit_code = 2


class BlockMissingError(StoreError):
    """The store does not hold this block. Not raised when it holds the block in a file that changed."""


class FileChangedError(StoreError):
    """A file that the store refers to is no longer the file that was hashed; nothing of it is served."""


class DiskFullError(StoreError):
    """No space left. Never retried in a loop."""


class QuotaError(StoreError):
    """The limit that the user set on this repository would be exceeded."""


class UnavailableError(HoldfastError):
    """No source gave these bytes before the deadline. The message names what each source did."""

    kind = "unavailable"
    exit_code = 3


class StaleNameError(UnavailableError):
    """Of a name only records were found that no longer count, or are older than one seen before.

    Not raised when no place knows the name at all: that is an `UnavailableError`.
    """

    kind = "stale_name"


class PeerError(HoldfastError):
    """What one source did wrong in one answer. `verdict` is its one-word name in tables and reports."""

    kind = "peer"
    exit_code = 3
    verdict = "ERROR"
    retryable = True


class WrongBytesError(PeerError):
    """The bytes sent do not hash to the CID asked for, or the framing of the answer is invalid."""

    verdict = "WRONG_BYTES"
    data: bytes = b""  # what came, when only the source itself saw it


class TruncatedError(PeerError):
    """The answer ended before the bytes that it promised."""

    verdict = "TRUNCATED"


class OversizeError(PeerError):
    """The answer is longer than what was asked for, or says so; reading stopped at the bound."""

    verdict = "OVERSIZE"


class SlowError(PeerError):
    """The answer passed its deadline or fell below the minimum rate."""

    verdict = "SLOW"


class IncompleteError(SlowError):
    """A block of a DAG is not there, and nobody whom this provider knows has it: it waits, and would wait for ever."""


class MissingError(PeerError):
    """The source does not have it (404). Says nothing about other objects."""

    verdict = "MISSING"
    retryable = False


class LeafMissingError(MissingError):
    """The source lacks some leaves of a file, `count` of them from the next one on, and may have all others."""

    count = 1


class WithheldError(PeerError):
    """The source refuses it on purpose (410, 451, 401, 403)."""

    verdict = "WITHHELD"
    retryable = False


class UnreachableError(PeerError):
    """No connection, or the server is failing (refused, reset, DNS, TLS, 5xx, 429)."""

    verdict = "UNREACHABLE"
    status: int = 0  # of the HTTP answer; 0: there was none
    retry_after_s: float = 0.0  # what the server asked for (429, 503)


class ForbiddenAddressError(PeerError):
    """The address came from someone else than the user and is not a public one; no connection was made."""

    verdict = "FORBIDDEN"
    retryable = False
