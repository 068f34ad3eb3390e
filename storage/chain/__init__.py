"""Filecoin's chain as far as we read it: Eth JSON-RPC, and the contracts of Filecoin Onchain Cloud."""
