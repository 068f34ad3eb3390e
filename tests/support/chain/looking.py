"""An audit of the first provider, and an endpoint between it and the chain that may change what it hands on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from holdfast.pipeline.audit.chain import ChainFinding, audit_chain
from holdfast.storage.chain.deployment import Deployment
from holdfast.storage.chain.registry import providers
from holdfast.storage.chain.rpc import EthRpc
from holdfast.storage.errors import PeerError
from holdfast.storage.pieces.manifest import PieceManifest
from support.chain.deploy import Onchain
from support.chain.stored import ENV

Rewrite = Callable[[dict[str, Any], Any], Any]


def look(onchain: Onchain, made: PieceManifest, **table: Any) -> ChainFinding:
    """What the chain says of the first provider in the registry."""
    deployment = Deployment.of(onchain.table(**table), ENV)
    at = deployment.chain.anchor()
    known = providers(deployment.chain, deployment.service.addresses(at).registry, at)
    found = audit_chain(made, deployment, [(known[0].name, known[0])], onchain.payer)
    return found.findings[0]


@contextmanager
def proxy(url: str, rewrite: Rewrite) -> Iterator[str]:
    """An endpoint that hands calls on, and may change answers; None: it cuts the connection."""
    behind = EthRpc(url, {})

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: Any = {"jsonrpc": "2.0", "id": request["id"]}
            try:
                answer["result"] = behind.ask(request["method"], *request["params"])
            except PeerError as error:
                answer["error"] = {"code": 3, "message": error.message}
            body = rewrite(request, answer)
            if body is None:
                return
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
