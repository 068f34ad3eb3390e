"""A real EVM: anvil, from npm (`make npm`): a chain of one's own that mines when it is told."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.storage.chain.rpc import EthRpc

ROOT = Path(__file__).parents[3]
CHAIN_ID = 31415926
# The precompile of the beacon's randomness, which only Filecoin has: here keccak256 of the epoch.
_RANDOMNESS = "0xfE00000000000000000000000000000000000006"
_KECCAK = "0x60206000600037602060002060005260206000f3"


def binary() -> Path | None:
    """The program, if it is installed."""
    found = sorted((ROOT / "build/npm/node_modules/@foundry-rs").glob("anvil-*/bin/anvil"))
    return found[0] if found else None


class Anvil:
    """A running chain."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rpc = EthRpc(url, {})
        self.accounts: list[str] = [one.lower() for one in self.rpc.ask("eth_accounts")]

    def mine(self, blocks: int = 1) -> None:
        """Go on by so many blocks."""
        self.rpc.ask("anvil_mine", hex(blocks))

    def transact(self, sender: str, to: str | None, data: bytes) -> dict[str, Any]:
        """Send from an account that the chain itself has the key of; its receipt. Asserts that it went well."""
        fields = {"from": sender, "data": "0x" + data.hex(), "gas": hex(25_000_000)}
        mark = self.rpc.ask("eth_sendTransaction", fields | ({"to": to} if to else {}))
        self.mine()
        receipt: dict[str, Any] | None = self.rpc.ask("eth_getTransactionReceipt", mark)
        assert receipt is not None, "it was not mined"
        assert receipt["status"] == "0x1", receipt
        return receipt

    def snapshot(self) -> str:
        """The chain as it is now."""
        return str(self.rpc.ask("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Back to it: what came after never was, and what waits to be mined is forgotten."""
        self.rpc.ask("anvil_dropAllTransactions")
        assert self.rpc.ask("evm_revert", snapshot) is True


@contextmanager
def anvil() -> Iterator[Anvil]:
    """Start one on a free port, and end it."""
    program = binary()
    assert program is not None
    # Blocks come only when they are asked for.
    command = [program, "--host", "127.0.0.1", "--port", "0", "--chain-id", str(CHAIN_ID), "--accounts", "8"]
    command.append("--no-mining")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                if found := re.search(r"Listening on (127\.0\.0\.1:\d+)", line):
                    break
            else:
                raise AssertionError("anvil ended before it listened")
            threading.Thread(target=process.stdout.read, daemon=True).start()  # it logs each call, until a pipe is full
            chain = Anvil(f"http://{found[1]}")
            chain.rpc.ask("anvil_setCode", _RANDOMNESS, _KECCAK)
            yield chain
        finally:
            process.kill()
