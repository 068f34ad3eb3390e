"""Whether pieces can be found through an index, as a provider says and as a router says: apart from whether they are
there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider
from holdfast.pipeline.audit.announced import audit_announced
from holdfast.storage.multiaddr import multiaddr_of
from holdfast.storage.names.router import Router
from support.chain.curio import CurioServer
from support.chain.deploy import Onchain
from support.chain.stored import ENV, PIECES, dataset, keeping

PEER = "12D3KooWBhmbLvQYUyNn5YhWkzyFvQrJpzVnhvPbu2x9mQ2nkVmK"


@pytest.fixture
def index() -> Iterator[tuple[str, dict[str, list[str]]]]:
    """A delegated router: multiaddrs of who has a block, by its CID."""
    known: dict[str, list[str]] = {}

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            cid = self.path.split("?")[0].rsplit("/", 1)[1]
            record = {
                "Schema": "peer", "ID": PEER, "Addrs": known.get(cid, []), "Protocols": ["transport-ipfs-gateway-http"],
            }  # fmt: skip
            body = json.dumps({"Providers": [record] if cid in known else []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", known
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_is_said_and_what_is_found(
    onchain: Onchain, one: CurioServer, two: CurioServer, folder: Path, index: tuple[str, dict[str, list[str]]]
) -> None:
    url, known = index
    with dataset(folder) as (store, _, made):
        work = keeping(store, made, onchain, onchain.table())
        work.keep(work.plan().copies[0], None)
    known[str(made.root)] = [multiaddr_of(one.url)]
    first = next(iter(made.blocks.of_piece(1)))[0]  # that of piece 0 is the root, in a tree that is no dataset
    known[str(first)] = [multiaddr_of(two.url)]
    providers = [Provider(name=name, kind="filecoin", url=at.url) for name, at in (("one", one), ("two", two))]
    routers = [Router(Provider(name="index", kind="router", url=url))]
    found = {each.name: each for each in audit_announced(made, providers, routers, ENV)}
    assert (found["one"].said, found["one"].asked, found["one"].found) == ({"announced": PIECES}, PIECES, 1)
    assert (found["two"].said, found["two"].found) == ({"": PIECES}, 1)
    assert found["one"].problem == ""

    one.faults.refuse["GET /pdp/piece/"] = 403, "no"
    refused = audit_announced(made, providers, routers, ENV)[0]
    assert (refused.said, refused.found) == ({}, 1)
    assert "wants a token" in refused.problem
    one.faults.refuse.clear()

    down = [Router(Provider(name="index", kind="router", url="http://127.0.0.1:9"))]
    silent = audit_announced(
        made, [*providers, Provider(name="off", kind="filecoin", url="http://127.0.0.1:9")], down, ENV
    )
    assert [each.found for each in silent] == [0, 0, 0]
    assert all("index cannot be reached" in each.problem for each in silent)
    assert silent[2].said == {}
