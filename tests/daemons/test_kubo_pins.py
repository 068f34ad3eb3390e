"""The contract of pin targets, kept by a real Kubo; and CARs that are pushed to it."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.pin_target import NOWHERE, PinTargetContract

from holdfast.configs.roster import Provider
from holdfast.storage.blocks.car_file import export_car
from holdfast.storage.cid import CID, RAW
from holdfast.storage.dag.car import encode_header, encode_section
from holdfast.storage.errors import ConfigError, FileChangedError, PeerError, SlowError, UnreachableError
from holdfast.storage.pins.kubo import KuboPins
from holdfast.storage.pins.pin import Status
from support.kubo import Kubo
from support.running_node import RunningNode, publish_folder


class TestKubo(PinTargetContract):
    @pytest.fixture
    def target(self, origin: RunningNode, tmp_path: Path) -> Iterator[KuboPins]:
        config = {"Routing.Type": "delegated", "Provide.Enabled": False, "Routing.DelegatedRouters": [origin.url]}
        with Kubo(tmp_path / "kubo", config) as kubo:
            target = KuboPins(Provider(name="kubo", kind="kubo", url=kubo.api))
            yield target
            target.close()


def target_of(kubo: Kubo) -> KuboPins:
    return KuboPins(Provider(name="kubo", kind="kubo", url=kubo.api))


def test_a_car_is_pushed_named_and_pinned(kubo: Kubo, tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        data = random.Random(5).randbytes(3_000_000)
        root = publish_folder(node.store, tmp_path / "src", {"data": data}, 1 << 20)
        export_car(node.store, root, tmp_path / "a.car")
    pushed = target_of(kubo).push(root, "a name", [[(tmp_path / "a.car").read_bytes()]])
    assert (pushed.status, pushed.info["blocks"]) == (Status.PINNED, "5")
    (listed,) = target_of(kubo).ls(root)
    assert (listed.cid, listed.name) == (root, "a name")
    assert kubo.run("cat", f"/ipfs/{root}/data") == data


def test_a_car_that_lacks_a_block_is_not_pinned_and_said_so(
    kubo: Kubo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.storage.pins.kubo._STALL_S", 1.0)
    with RunningNode(tmp_path / "repo") as node:
        root = publish_folder(node.store, tmp_path / "src", {"data": random.Random(6).randbytes(3_000_000)}, 1 << 20)
        parts = [encode_header([root]), encode_section(root, node.store.get(root).data)]
    with pytest.raises(SlowError, match="no further"):
        target_of(kubo).push(root, "", [parts])
    assert target_of(kubo).ls(root) == []


def test_a_car_with_a_wrong_block_or_cut_is_refused(kubo: Kubo, tmp_path: Path) -> None:
    data = b"right" * 100
    cid = CID.of(RAW, data)
    wrong = [encode_header([cid]), encode_section(cid, b"wrong" * 100)]
    cut = [encode_header([cid]), encode_section(cid, data)[:-7]]
    for parts in (wrong, cut):
        with pytest.raises(PeerError, match="kubo"):
            target_of(kubo).push(cid, "", [parts])
    assert target_of(kubo).ls(cid) == []


def test_an_error_while_the_car_is_made_is_ours_and_pins_nothing(kubo: Kubo) -> None:
    def parts() -> Iterator[bytes]:
        yield encode_header([NOWHERE])
        raise FileChangedError("a file changed meanwhile")

    with pytest.raises(FileChangedError):
        target_of(kubo).push(NOWHERE, "", [parts(), iter([encode_header([NOWHERE])])])
    assert target_of(kubo).ls(NOWHERE) == []


def test_it_says_its_version_and_what_is_no_kubo(kubo: Kubo) -> None:
    assert target_of(kubo).version().startswith("0.4")
    gateway = KuboPins(Provider(name="gateway", kind="kubo", url=kubo.gateway))
    with pytest.raises(ConfigError, match="RPC interface"):
        gateway.ls()
    nobody = KuboPins(Provider(name="nobody", kind="kubo", url="http://127.0.0.1:9"))
    for call in (nobody.version, nobody.ls, lambda: nobody.push(NOWHERE, "", [[encode_header([NOWHERE])]])):
        with pytest.raises(UnreachableError):
            call()
