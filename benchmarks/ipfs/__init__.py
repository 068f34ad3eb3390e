"""holdfast beside the real programs of the IPFS network: Kubo, on this machine."""
