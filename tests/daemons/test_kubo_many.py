"""Many small roots on a real Kubo with few calls, by name; one that cannot be sent does not keep the others away."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.conftest import Done

from holdfast.configs.roster import Provider
from holdfast.pipeline.place import many
from holdfast.pipeline.place.many import place_many
from holdfast.pipeline.place.placing import PlaceOptions
from holdfast.pipeline.place.state import Placements
from holdfast.storage.blocks.car_file import cars
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.pins.kubo import KuboPins
from holdfast.storage.pins.pin import Status
from support.kubo import Kubo
from support.running_node import publish_folder

Command = Callable[..., Done]
ABSENT = CID.of(RAW, b"this is nowhere")
QUICK = PlaceOptions(wait_s=20, pause_s=0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DiskStore]:
    with DiskStore(tmp_path / "repo").open() as store:
        yield store


def blocks(store: DiskStore, seed: object, count: int) -> list[CID]:
    numbers = random.Random(str(seed))
    return [store.put(CID.of(RAW, data), data).cid for data in (numbers.randbytes(200) for _ in range(count))]


def provider(kubo: Kubo) -> Provider:
    return Provider(name="k", kind="kubo", url=kubo.api, gateway=kubo.gateway)


def pinned(kubo: Kubo) -> dict[str, str]:
    found = json.loads(kubo.run("pin", "ls", "--type=recursive", "--names", "--enc=json"))["Keys"]
    return {cid: about.get("Name", "") for cid, about in found.items()}


def test_each_is_pinned_by_its_name_and_read_back(
    kubo: Kubo, store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_BATCH", 100)
    roots = blocks(store, tmp_path, 230)
    wanted = {root: f"name {number % 3}" for number, root in enumerate(roots)}
    damaged = publish_folder(store, tmp_path / "src", {"a": random.Random(str(tmp_path)).randbytes(40_000)})
    (tmp_path / "src/a").write_bytes(b"changed")
    placements = Placements(tmp_path / "p.sqlite")
    found = {
        one.root: one
        for one in place_many(
            store, {damaged: "d", ABSENT: "x", **wanted}, [provider(kubo)], placements, options=QUICK, env={}
        )
    }
    assert all(found[root].counts for root in roots), [one for one in found.values() if not one.counts]
    assert found[damaged].status is found[ABSENT].status is Status.FAILED
    assert found[damaged].message
    assert "not in the repository here" in found[ABSENT].message
    there = pinned(kubo)
    assert {root: there[str(root)] for root in roots} == wanted
    assert str(ABSENT) not in there
    sent: list[object] = []
    monkeypatch.setattr(KuboPins, "push_many", lambda *given: sent.append(given))
    again = place_many(store, wanted, [provider(kubo)], placements, options=QUICK, env={})
    assert all(one.counts for one in again)
    assert sent == []
    assert all(one.promised_us == found[one.root].promised_us for one in again)


def test_a_block_that_never_came_fails_alone(
    kubo: Kubo, store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.storage.pins.kubo._STALL_S", 1.0)
    roots = blocks(store, tmp_path, 5)
    target = KuboPins(provider(kubo))
    pins = target.push_many([(ABSENT, "n"), *((root, "n") for root in roots)], cars(store, roots, 1))
    assert [pin.status for pin in pins] == [Status.FAILED] + 5 * [Status.PINNED]
    assert "no further" in pins[0].error


def test_a_list_of_roots_by_the_command_line(command: Command, kubo: Kubo, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    with DiskStore(repo).open() as store:
        roots = blocks(store, tmp_path, 40)
    roster = tmp_path / "roster.toml"
    roster.write_text(
        f'[[provider]]\nname = "k"\nkind = "kubo"\nurl = "{kubo.api}"\ngateway = "{kubo.gateway}"\n'
        '[[provider]]\nname = "down"\nkind = "kubo"\nurl = "http://127.0.0.1:9"\n'
    )
    listed = tmp_path / "list.txt"
    listed.write_text("# mine\n\n" + "\n".join(f"ipfs://{root} the {n}th" for n, root in enumerate(roots[1:])))
    done = command("pin", "add", roots[0], "--list", listed, "--to", roster, "--repo", repo, "--json")
    assert done.code == 1, done
    assert {one["provider"]: (one["pinned"], one["proven"]) for one in done.json()["providers"]} == {
        "k": (40, 40), "down": (0, 0),
    }  # fmt: skip
    assert len(done.json()["problems"]) == 20
    assert pinned(kubo)[str(roots[3])] == "the 2th"
    words = command("pin", "add", "--list", listed, "--to", roster, "--repo", repo)
    assert "k: 39 of 39 pinned, 39 proven" in words.out
    assert "and 19 more" in words.out
    listed.write_text("ipfs://nonsense name\n")
    command("pin", "add", "--list", listed, "--to", roster, "--repo", repo, "--json").failed(
        2, "config", "list.txt, line 1"
    )
    command("pin", "add", "--to", roster, "--repo", repo, "--json").failed(2, "config", "--list FILE")
    command("pin", "add", roots[0], roots[1], "--repo", repo, "--json").failed(2, "config", "--to ROSTER")
