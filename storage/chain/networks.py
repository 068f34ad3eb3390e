"""Where the contracts of Filecoin Onchain Cloud are. The proxies are stable; what they point to is read from them.

Source: filecoin-services, deployments.json of 2026-06. A network of one's own (devnet) gives the addresses itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses as 0x and 40 digits. `epoch_s`: seconds between two blocks."""

    name: str
    chain_id: int
    verifier: str
    service: str
    epoch_s: int = 30


NETWORKS = {
    "mainnet": Network(
        "mainnet", 314, "0xBADd0B92C1c71d02E7d520f64c0876538fa2557F", "0x8408502033C418E1bbC97cE9ac48E5528F371A9f"
    ),
    "calibration": Network(
        "calibration", 314159,
        "0x85e366Cf9DD2c0aE37E963d9556F5f4718d6417C", "0x02925630df557F957f70E112bA06e50965417CA0",
    ),
}  # fmt: skip
