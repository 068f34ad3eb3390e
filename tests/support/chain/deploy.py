"""The contracts of this folder, compiled by Vyper and deployed; providers in the registry, a payer with funds."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.configs.filecoin import Filecoin
from holdfast.storage.chain.abi import Function, encode
from holdfast.storage.chain.account import APPROVE, APPROVE_OPERATOR, DEPOSIT
from support.chain.anvil import CHAIN_ID, Anvil

CONTRACTS = Path(__file__).parent / "contracts"
NAMES = ("token", "payments", "registry", "session_keys", "pdp_verifier", "warm_storage")
# The first key of every anvil, as its documentation prints it.
PAYER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
USDFC = 10**18
PERIOD, WINDOW = 60, 20

MINT = Function("mint", ("address", "uint256"))
REGISTER = Function("registerProvider", ("address", "string", "string", "uint8", "string[]", "bytes[]"))


@functools.cache
def compiled() -> dict[str, bytes]:
    """The byte code of each, once for a process: 2 s."""
    command = [sys.executable, "-m", "vyper.cli.vyper_compile", "-f", "bytecode"]
    paths = [CONTRACTS / f"{name}.vy" for name in NAMES]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=True)
    return {name: bytes.fromhex(line[2:]) for name, line in zip(NAMES, done.stdout.split(), strict=True)}


@dataclass(frozen=True)
class Onchain:
    """What is deployed. `payer` is account 0 of the chain; providers are the accounts behind it."""

    anvil: Anvil
    token: str
    payments: str
    registry: str
    sessions: str
    verifier: str
    service: str

    @property
    def payer(self) -> str:
        return self.anvil.accounts[0]

    def table(self, **other: Any) -> Filecoin:
        """The `[filecoin]` table of a roster of it."""
        fields = {
            "network": "devnet", "rpc": [self.anvil.url], "chain_id": CHAIN_ID, "service": self.service,
            "verifier": self.verifier, "key_env": "PAYER_KEY", "ceiling": "1", "copies": 1, "confirmations": 2,
        }  # fmt: skip
        return Filecoin.model_validate({key: value for key, value in (fields | other).items() if value is not None})

    def register(self, account: str, url: str, **about: Any) -> None:
        """A provider at a URL. `about`: name, location, min, max, price (a TiB and day)."""
        fields = {
            "serviceURL": url.encode(),
            "minPieceSizeInBytes": about.get("min", 127).to_bytes(32, "big"),
            "maxPieceSizeInBytes": about.get("max", 127 << 23).to_bytes(32, "big"),
            "storagePricePerTibPerDay": about.get("price", USDFC // 12).to_bytes(32, "big"),
            "minProvingPeriodInEpochs": PERIOD.to_bytes(32, "big"),
            "location": about.get("location", "C=DE;L=Berlin").encode(),
            "paymentTokenAddress": bytes.fromhex(self.token[2:]),
            "ipniIpfs": b"\x01",
        }
        name = about.get("name", "a provider")
        data = REGISTER.encode(account, name, "", 0, list(fields), list(fields.values()))
        self.anvil.transact(account, self.registry, data)

    def fund(self, amount: int = 10 * USDFC) -> None:
        """Deposit for the payer, and let the service spend it."""
        send = self.anvil.transact
        send(self.payer, self.token, MINT.encode(self.payer, amount))
        send(self.payer, self.token, APPROVE.encode(self.payments, amount))
        send(self.payer, self.payments, DEPOSIT.encode(self.token, self.payer, amount))
        limits = (True, 2**255, 2**255, 86400 * 30)
        send(self.payer, self.payments, APPROVE_OPERATOR.encode(self.token, self.service, *limits))

    def call(self, to: str, function: Function, *values: object) -> tuple[Any, ...]:
        """Read at the head."""
        rpc = self.anvil.rpc
        return function.decode(rpc.call(to, function.encode(*values), rpc.head()))


def deploy(anvil: Anvil, *, legacy: bool = False) -> Onchain:
    """All of them. `legacy`: pieces are announced as before 3.5.0."""

    def put(name: str, types: tuple[str, ...] = (), *values: object) -> str:
        receipt = anvil.transact(anvil.accounts[0], None, compiled()[name] + encode(types, values))
        return str(receipt["contractAddress"]).lower()

    token, payments, registry = put("token"), put("payments"), put("registry")
    sessions, verifier = put("session_keys"), put("pdp_verifier", ("bool",), legacy)
    around = (verifier, payments, token, registry, sessions, PERIOD, WINDOW)
    service = put("warm_storage", ("address",) * 5 + ("uint256",) * 2, *around)
    return Onchain(anvil, token, payments, registry, sessions, verifier, service)
