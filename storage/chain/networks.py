"""Where the contracts of Filecoin Onchain Cloud are. The proxies are stable; what they point to is read from them.

Source: filecoin-services, deployments.json of 2026-06. A network of one's own (devnet) gives the addresses itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses as 0x and 40 digits. `around`: payments, token, registry and session keys, lower case; none for a
    devnet, whose service names them. `epoch_s`: seconds between two blocks.
    """

    name: str
    chain_id: int
    verifier: str
    service: str
    around: tuple[str, str, str, str] | None = None
    epoch_s: int = 30


NETWORKS = {
    "mainnet": Network(
        "mainnet", 314,
        "0xBADd0B92C1c71d02E7d520f64c0876538fa2557F", "0x8408502033C418E1bbC97cE9ac48E5528F371A9f",
        (
            "0x23b1e018f08bb982348b15a86ee926eebf7f4daa", "0x80b98d3aa09ffff255c3ba4a241111ff1262f045",
            "0xf55ddbf63f1b55c3f1d4fa7e339a68ab7b64a5eb", "0x74fd50525a958af5d484601e252271f9625231ab",
        ),
    ),
    "calibration": Network(
        "calibration", 314159,
        "0x85e366Cf9DD2c0aE37E963d9556F5f4718d6417C", "0x02925630df557F957f70E112bA06e50965417CA0",
        (
            "0x09a0fdc2723fad1a7b8e3e00ee5df73841df55a0", "0xb3042734b608a1b16e9e86b374a3f3e389b4cdf0",
            "0x839e5c9988e4e9977d40708d0094103c0839ac9d", "0x518411c2062e119aaf7a8b12a2edf9a939347655",
        ),
    ),
}  # fmt: skip
