"""T8: addresses that somebody else gave lead into our network: by redirect, by DNS, by the origins of a pin.

A canary on loopback is never connected to. What is not on loopback is never dialled by these tests: `connect` is
watched, and refuses.
"""

import random
import socket
from pathlib import Path
from typing import Any

import pytest

from holdfast.demo.faults.behaviour import Behaviour
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import UnavailableError
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.get import get
from support.canary import Canary, lying_resolver
from support.disk import check_copy
from support.running_node import RunningNode
from support.trees import LEAF, mirror_folder

FILES = {"data/a.bin": random.Random(7).randbytes(3 * LEAF)}
HOSTS = [
    "127.0.0.1", "localhost", "localhost.", "127.1", "0x7f.1", "2130706433", "017700000001", "0177.0.0.1", "0",
    "0.0.0.0", "127.255.255.254", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]",
    "[::7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fec0::1]", "169.254.169.254",
    "[64:ff9b::a9fe:a9fe]", "10.0.0.1", "192.168.0.1", "100.64.0.1", "168.63.129.16", "224.0.0.1", "[ff02::1]",
    "255.255.255.255",
]  # fmt: skip
PUBLIC = "93.184.216.34"


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that `connect` was called with; those outside of loopback are refused there."""
    found: list[str] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        found.append(str(address[0]))
        if not str(address[0]).startswith("127."):
            raise ConnectionRefusedError(111, "refused by the test")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    return found


@pytest.fixture
def origin(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "origin", str(mirror_folder(tmp_path / "origin", FILES))


def _redirect(host: str, port: int, paths: str = "data/*") -> Behaviour:
    return Behaviour("UNREACHABLE", "redirect", paths, location=f"http://{host}:{port}/data/a.bin")


@pytest.mark.parametrize("host", HOSTS)
def test_a_redirect_to_a_forbidden_address_is_not_followed(
    origin: tuple[Path, str], tmp_path: Path, dialled: list[str], host: str
) -> None:
    folder, root = origin
    with Canary() as canary, FaultServer(folder, _redirect(host, canary.port)) as bad:
        with pytest.raises(UnavailableError, match="FORBIDDEN|cannot be resolved"):
            get(root, tmp_path / "copy", sources=[bad.url], deadline_s=0.6)
        here = len(dialled)
        assert set(dialled) == {"127.0.0.1"}, "the source itself"
        assert canary.connections == 0
        assert bad.stats().connections == here
    check_copy(tmp_path / "copy", FILES, complete=False)


def test_beside_a_good_source_it_changes_nothing(origin: tuple[Path, str], tmp_path: Path, dialled: list[str]) -> None:
    folder, root = origin
    with Canary() as canary, FaultServer(folder) as good, FaultServer(folder) as bad:
        bad.play(_redirect("localhost", canary.port, "*"))
        result = get(root, tmp_path / "copy", sources=[bad.url, good.url])
        assert canary.connections == 0
    assert result.sources[1].state == "good"
    check_copy(tmp_path / "copy", FILES, complete=True)


def test_a_loop_of_redirects_and_other_schemes_end(origin: tuple[Path, str], tmp_path: Path) -> None:
    folder, root = origin
    for number, behaviour in enumerate(
        [
            Behaviour("UNREACHABLE", "redirect-loop", "data/*"),
            Behaviour("UNREACHABLE", "redirect", "data/*", location="file:///etc/passwd"),
            Behaviour("UNREACHABLE", "redirect", "data/*", location="gopher://127.0.0.1/x"),
            Behaviour("UNREACHABLE", "redirect", "data/*", location="//169.254.169.254/latest/meta-data/"),
        ]
    ):
        with FaultServer(folder, behaviour) as bad:
            with pytest.raises(UnavailableError):
                get(root, tmp_path / f"copy{number}", sources=[bad.url], deadline_s=0.6)
            assert bad.stats().requests < 40
        check_copy(tmp_path / f"copy{number}", FILES, complete=False)


@pytest.mark.parametrize("second", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"])
def test_a_name_that_changes_its_address_after_the_check_is_dialled_where_it_was_checked(
    origin: tuple[Path, str], tmp_path: Path, dialled: list[str], monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """DNS rebinding: the first answer is public, every other one is not."""
    folder, root = origin
    resolver, said = lying_resolver("evil.example", [PUBLIC, second])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with Canary() as canary, FaultServer(folder, _redirect("evil.example", canary.port)) as bad:
        with pytest.raises(UnavailableError):
            get(root, tmp_path / "copy", sources=[bad.url], deadline_s=0.5)
        assert set(dialled) == {"127.0.0.1", PUBLIC}
        assert dialled.count(PUBLIC) == 1, "what was checked, once for each answer"
        assert len(said) > 1, "asked again for the next request, and refused then"
        assert canary.connections == 0
    check_copy(tmp_path / "copy", FILES, complete=False)


def test_of_several_addresses_only_public_ones_are_dialled(
    origin: tuple[Path, str], tmp_path: Path, dialled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, root = origin
    real = socket.getaddrinfo

    def both(name: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if name != "evil.example":
            return real(name, port, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in ("127.0.0.1", PUBLIC)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with Canary() as canary, FaultServer(folder, _redirect("evil.example", canary.port)) as bad:
        with pytest.raises(UnavailableError):
            get(root, tmp_path / "copy", sources=[bad.url], deadline_s=0.6)
        assert PUBLIC in dialled
        assert canary.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]", "evil.example"])
def test_the_origins_of_a_pin_are_checked_too(
    tmp_path: Path, host: str, dialled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver, _ = lying_resolver("evil.example", [PUBLIC, "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    policy = FetchPolicy(progress_deadline_s=0.5)
    with Canary() as canary, RunningNode(tmp_path / "repo", policy=policy) as node:
        pin = node.settled(node.pin(CID.of(RAW, b"x"), f"http://{host}:{canary.port}"))
        assert pin["status"] == "failed"
        assert canary.connections == 0
    assert not any((tmp_path / "repo/files").rglob("*"))
