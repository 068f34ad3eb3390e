"""What a user types: providers, quote, fund, pin add, audit; and what they read when it goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.pipeline.publish import publish
from support.chain.curio import CurioServer
from support.chain.deploy import MINT, PAYER_KEY, USDFC, Onchain
from support.chain.stored import table_text
from support.mining import mining


@pytest.fixture
def root(folder: Path, tmp_path: Path) -> str:
    """A published dataset."""
    source = tmp_path / "texts"
    source.mkdir()
    (source / "a.jsonl").write_text("".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(2000)))
    return str(publish(source, name="texts", repo=folder).root)


@pytest.fixture
def roster(onchain: Onchain, one: CurioServer, two: CurioServer, tmp_path: Path) -> Iterator[Path]:
    """With a table, and nobody named. Blocks come by themselves."""
    path = tmp_path / "roster.toml"
    path.write_text(table_text(onchain, key_env="WALLET", ceiling="0.10", copies=2))
    with mining(onchain.anvil, 0.5):  # a proving period of 60 blocks is half a minute
        yield path


@pytest.fixture(autouse=True)
def wallet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WALLET", PAYER_KEY)
    monkeypatch.setenv("HOME", str(tmp_path))


pytestmark = pytest.mark.timeout(400)  # a dozen commands each, which wait for blocks


def run(*command: object, **other: Any) -> subprocess.CompletedProcess[str]:
    """The real command; the home of these tests has nothing in it."""
    line = [sys.executable, "-m", "holdfast", *map(str, command)]
    return subprocess.run(line, capture_output=True, text=True, timeout=100, **other)


def said(*command: object, code: int = 0) -> Any:
    done = run(*command, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_from_a_quote_to_an_audit(
    onchain: Onchain, one: CurioServer, two: CurioServer, roster: Path, root: str, folder: Path, tmp_path: Path
) -> None:
    names = [found["name"] for found in said("piece", "providers", "--to", roster)["providers"]]
    assert names == ["one", "two"]
    quoted = said("piece", "quote", root, "--to", roster, "--repo", folder)
    assert (quoted["problems"], quoted["pieces"]) == ([], 4), "two pieces, at two providers"
    assert one.requests == two.requests == []

    pins = said("pin", "add", root, "--to", roster, "--repo", folder)["pins"]
    assert [(pin["provider"], pin["state"], pin["message"]) for pin in pins] == [
        ("filecoin/1", "pinned", ""),
        ("filecoin/2", "pinned", ""),
    ]
    assert all(pin["proven"] and pin["leaves"] for pin in pins), "read back from each alone"
    assert said("piece", "quote", root, "--to", roster, "--repo", folder)["month"] == 0
    shown = said("pin", "status", "--to", roster, "--repo", folder)["providers"]
    assert [(row["provider"], row["proven"]) for row in shown] == [("filecoin/1", 1), ("filecoin/2", 1)]

    manifest = tmp_path / "manifest"
    said("piece", "manifest", root, "-o", manifest, "--repo", folder)
    found = said("piece", "audit", manifest, "--roster", roster, "--chain-only")["chain"]
    assert found["ok"]
    assert [(row["name"], row["verdict"], row["missing"]) for row in found["findings"]] == [
        ("filecoin/1", "UNPROVEN", []),
        ("filecoin/2", "UNPROVEN", []),
    ]
    challenged = said("piece", "audit", manifest, "--roster", roster, "--samples", 3)
    assert challenged["ok"]
    assert [each["name"] for each in challenged["providers"]] == ["filecoin/1", "filecoin/2"], "nobody was named"
    named = tmp_path / "named.toml"
    named.write_text(roster.read_text() + f'\n[[provider]]\nname = "sp"\nkind = "filecoin"\nurl = "{one.url}"\n')
    said("key", "gen", "auditor", "--repo", folder)
    report = tmp_path / "report.json"
    both = said(
        "piece", "audit", manifest, "--roster", named, "--samples", 3, "--report", report, "--key", "auditor",
        "--repo", folder,
    )  # fmt: skip
    assert both["ok"]
    assert json.loads(report.read_text())["report"]["chain"]["hash"] == both["chain"]["hash"]
    again = said("piece", "audit", manifest, "--roster", named, "--replay", report, "--repo", folder)
    assert again["seed"] == both["seed"]

    one.delete(1)
    onchain.anvil.mine(3)
    gone = said("piece", "audit", manifest, "--roster", named, "--samples", 1, code=1)
    assert gone["providers"][0]["ok"], "it still gives the bytes, and is not paid to"
    assert gone["chain"]["findings"][0]["verdict"] == "DELETED"


def test_a_ceiling_is_obeyed_before_anybody_is_asked(
    one: CurioServer, two: CurioServer, roster: Path, root: str, folder: Path
) -> None:
    roster.write_text(roster.read_text().replace('"0.10"', '"0.01"'))
    error = said("pin", "add", root, "--to", roster, "--repo", folder, code=2)["error"]
    assert "the ceiling is 0.010000 USDFC" in error["message"]
    assert "piece quote" in error["hint"]
    assert one.requests == two.requests == []
    words = run("piece", "quote", root, "--to", roster, "--repo", folder)
    assert words.returncode == 1
    assert "would be refused: the first month costs" in words.stdout


def test_a_deposit_in_three_transactions(onchain: Onchain, roster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from support.chain.curio import Function

    other = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"  # account 2 of anvil: it has none
    monkeypatch.setenv("WALLET", other)
    error = said("piece", "fund", "2.50", "--to", roster, "--yes", code=2)["error"]
    assert "has 0.000000 USDFC" in error["message"]
    owner = onchain.anvil.accounts[2]
    onchain.anvil.transact(onchain.payer, onchain.token, MINT.encode(owner, 5 * USDFC))
    sent = said("piece", "fund", "2.50", "--to", roster, "--yes")["transactions"]
    assert [step["what"].split()[0] for step in sent] == ["let", "deposit", "let"]
    accounts = Function("accounts", ("address", "address"), ("uint256",) * 4)
    assert onchain.call(onchain.payments, accounts, onchain.token, owner)[0] == USDFC * 5 // 2
    assert said("piece", "fund", "0", "--to", roster, "--yes")["transactions"] == []
    refused = run("piece", "fund", "1", "--to", roster, input="n\n")
    assert refused.returncode == 2
    assert "nothing was signed" in refused.stderr
    assert onchain.call(onchain.payments, accounts, onchain.token, owner)[0] == USDFC * 5 // 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('rpc = "http://127.0.0.1"', "rpc: expected a list of 1 to 5 URLs"),
        ('rpc = ["ftp://x"]', "begin with http"),
        ('key_env = "0x1234"', "expected the name of an environment variable"),
        ("ceiling = 2.5", 'expected an amount of USDFC in quotes, such as "2.50"'),
        ('ceiling = "-1"', "expected an amount"),
        ('ceiling = "1e400"', "expected an amount"),
        ('payer = "0x12"', "expected an address"),
        ('network = "main"', "expected 'mainnet', 'calibration' or 'devnet'"),
        ('cieling = "1"', "did you mean ceiling?"),
        ("copies = 0", "copies: expected"),
    ],
)
def test_a_table_that_is_wrong(tmp_path: Path, line: str, why: str) -> None:
    key = line.split()[0]
    rows = {"network": '"calibration"', "rpc": '["http://127.0.0.1:9"]'}
    text = "".join(f"{name} = {value}\n" for name, value in rows.items() if name != key)
    path = tmp_path / "roster.toml"
    path.write_text(f"[filecoin]\n{text}{line}\n")
    error = said("piece", "providers", "--to", path, code=2)["error"]
    assert why in error["message"]
    assert "0x1234" not in error["message"]


def test_a_key_shows_up_nowhere(
    one: CurioServer, roster: Path, root: str, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = run("pin", "add", root, "--to", roster, "--repo", folder)
    assert done.returncode == 0, done.stderr
    secret = PAYER_KEY[2:]
    assert secret not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()
            assert bytes.fromhex(secret) not in path.read_bytes()


def test_no_endpoint_no_table_no_dataset(tmp_path: Path, root: str, folder: Path, roster: Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text('[filecoin]\nnetwork = "calibration"\nrpc = ["http://127.0.0.1:9"]\n')
    error = said("piece", "providers", "--to", path, code=3)["error"]
    assert "no endpoint of the chain answers" in error["message"]
    path.write_text('[[provider]]\nname = "a"\nkind = "mirror"\nurl = "http://127.0.0.1:9"\n')
    error = said("piece", "providers", "--to", path, code=2)["error"]
    assert "has no [filecoin] table" in error["message"]
    missing = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
    error = said("pin", "add", missing, "--to", roster, "--repo", folder, code=2)["error"]
    assert "is not in the repository" in error["message"]
