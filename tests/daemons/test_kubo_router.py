"""A real Kubo as a delegated router of ours: who it names is read from, and hashed."""

from pathlib import Path

from holdfast.configs.roster import Provider, Roster
from holdfast.storage.blocks.memory import MemoryStore
from holdfast.storage.cid import CID, RAW
from holdfast.storage.fetch.engine import FetchEngine
from holdfast.storage.fetch.policy import FetchPolicy
from holdfast.storage.fetch.tree import RemoteTree
from holdfast.storage.names.router import Router
from holdfast.storage.sources.from_roster import sources_of
from holdfast.storage.sources.netguard import NetGuard
from support.kubo import Kubo
from support.running_node import RunningNode, publish_folder

HERE = NetGuard.parse(["127.0.0.0/8"])


def test_a_kubo_says_who_has_a_root_and_it_is_read_from_there(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        root = publish_folder(node.store, tmp_path / "src", {"a": b"a" * 70_000})
        config = {
            "Routing.Type": "delegated", "Routing.DelegatedRouters": [node.url], "Provide.Enabled": False,
            "Gateway.ExposeRoutingAPI": True,
        }  # fmt: skip
        with Kubo(tmp_path / "kubo", config) as kubo:
            router = Provider(name="kubo", kind="router", url=kubo.gateway)
            found = Router(router).providers(root)
            assert node.url in [url for record in found for url in record.urls], found
            assert Router(router).providers(CID.of(RAW, b"nowhere")) == []
            sources = sources_of(Roster(providers=(router,)), env={}, redirects=HERE)
            with FetchEngine(sources, policy=FetchPolicy(progress_deadline_s=5.0)) as engine:
                tree = RemoteTree(engine, root, MemoryStore(1 << 20))
                assert tree.read(tree.find("a"), 1 << 20) == b"a" * 70_000
                assert [source.url for source in engine.stats() if source.bytes] == [node.url]
