"""Every bound on what foreign bytes may make us do, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20

MAX_BLOCK_BYTES = 2 * MIB  # trustless gateway specification, P2P appendix: clients SHOULD cap blocks at 2 MiB
MAX_CID_BYTES = 4 + 10 + 128  # version, codec, multihash code and length, digest of at most 128 bytes
MAX_IDENTITY_BYTES = 128  # IPIP-0512
MIN_DIGEST_BYTES, MAX_DIGEST_BYTES = 20, 128  # boxo verifcid
MAX_CAR_HEADER_BYTES = 64 * KIB
MAX_CAR_SECTION_BYTES = MAX_BLOCK_BYTES + MAX_CID_BYTES
MAX_DAG_DEPTH = 32  # 1024-wide trees of 1 MiB leaves hold a petabyte at depth 3; HAMTs end at depth 8
MAX_FILE_NODES = 1 << 20  # nodes of one file: 2^30 leaves at width 1024
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255  # of one path segment: what a file system takes
MAX_HEAD_BYTES = 1 * MIB  # dataset.json
MAX_MANIFEST_PAGE_BYTES = 8 * MIB  # 4,096 lines of at most 2 KiB

MIN_LEAF_BYTES, MAX_LEAF_BYTES = 16 * KIB, MIB
DEFAULT_LEAF_BYTES = MIB


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Bounds on one HTTP answer; a read timeout alone does not stop a peer that drips."""

    connect_s: float = 5.0
    first_byte_s: float = 10.0
    grace_s: float = 3.0  # before the minimum rate is asked for
    min_rate_bytes_s: float = 20_000.0
    max_request_s: float = 120.0
    max_redirects: int = 2
