"""What is signed: the cases of filecoin-services, and what viem and synapse-core sign, byte for byte."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.storage.chain.typed_data import (
    Domain,
    add_data,
    create_and_add_data,
    create_data,
    permission,
    removal_data,
)
from holdfast.storage.chain.wallet import Wallet
from holdfast.storage.cid import CID
from holdfast.storage.errors import ConfigError
from holdfast.storage.pieces.piece_cid import PieceCID

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "build/npm"
KEY = "0x" + "1234" * 16
SERVICE = "0x02925630df557F957f70E112bA06e50965417CA0"
PAYEE = "0x8617e340b3d01fa5f11f306f4090fd50e238070d"
PIECES = [str(PieceCID.of(bytes([number]) * 31 + b"\x01", size)) for number, size in ((7, 127), (200, 1_000_000))]


@pytest.fixture(scope="module")
def signed_by_others() -> dict[str, str]:
    """What synapse-core makes of the same values (dev only; skipped without it)."""
    if not (MODULES / "node_modules/@filoz/synapse-core").is_dir():
        pytest.skip("no JavaScript: `make npm` (Node 20)")
    script = (ROOT / "tests/npm/typed_data.mjs").read_text()
    given = json.dumps({"key": KEY, "payee": PAYEE, "pieces": PIECES})
    command = ["node", "--input-type=module", "-e", script, given]
    done = subprocess.run(command, cwd=MODULES, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_cases_of_the_reference_implementation() -> None:
    cases = json.loads((ROOT / "tests/vectors/typed_data.json").read_text())
    domain, wallet = Domain(cases["chain_id"], cases["service"]), Wallet.of(cases["key"], "a vector")
    case = cases["create"]
    found = create_data(domain, wallet, wallet.address, case["client_id"], case["payee"], case["metadata"])
    assert "0x" + found.hex() == case["extra"]
    case = cases["add"]
    pieces: list[Any] = [SimpleNamespace(v2=CID.parse(one)) for one in case["pieces"]]  # no pieces: of height 0
    found = add_data(domain, wallet, case["client_id"], case["nonce"], pieces)
    assert "0x" + found.hex() == case["extra"]
    case = cases["removal"]
    assert "0x" + removal_data(domain, wallet, case["client_id"], case["ids"]).hex() == case["extra"]


def test_every_message_as_synapse_core_signs_it(signed_by_others: dict[str, str]) -> None:
    domain, wallet = Domain(314159, SERVICE), Wallet.of(KEY, "a test")
    pieces = [PieceCID.parse(one) for one in PIECES]
    create = create_data(domain, wallet, wallet.address, 12345, PAYEE, {"source": "holdfast", "withIPFSIndexing": ""})
    add = add_data(domain, wallet, 12345, 67890, pieces)
    assert create.hex() == signed_by_others["create"][2:]
    assert add.hex() == signed_by_others["add"][2:]
    assert create_and_add_data(create, add).hex() == signed_by_others["both"][2:]
    assert removal_data(domain, wallet, 12345, [1, 3]).hex() == signed_by_others["removal"][2:]
    for kind in ("CreateDataSet", "AddPieces", "SchedulePieceRemovals"):
        assert permission(kind).hex() == signed_by_others[kind][2:]


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    wallet = Wallet.of(KEY, "a test")
    assert "1234" * 16 not in repr(wallet) + str(wallet)
    for wrong in ("1234", "zz" * 32, "0x" + "00" * 32, "0x" + "ff" * 32):
        with pytest.raises(ConfigError) as caught:
            Wallet.of(wrong, "WALLET")
        assert wrong not in f"{caught.value.message}{caught.value.hint}"
        assert caught.value.__cause__ is None
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        Wallet.from_file(path)
    path.chmod(0o600)
    assert Wallet.from_file(path).address == wallet.address
    with pytest.raises(ConfigError, match="is not set"):
        Wallet.from_environment("NO_SUCH_KEY", {})


def test_a_key_does_not_make_deep_json_end_the_process() -> None:
    """eth-account brings a library that raises the limit of recursion for the whole process."""
    program = (
        "import json, sys\n"
        "from holdfast.storage.chain.wallet import Wallet\n"
        "before = sys.getrecursionlimit()\n"
        f"Wallet.of({KEY!r}, 'a test')\n"
        "assert sys.getrecursionlimit() == before\n"
        "try:\n    json.loads('[' * 100_000)\n"
        "except RecursionError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "refused\n", done.stderr[-500:]
