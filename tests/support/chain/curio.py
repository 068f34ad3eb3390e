"""A storage provider with Curio's HTTP interface: it recomputes CommP, and sends real transactions to a real EVM.

Written from curio's pdp/README.md; that foreign clients work against it (tests/chain/test_foreign_clients.py) keeps it
honest. It keeps pieces in memory. A test may have it do wrong things: see `Curious`.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from eth_utils import keccak

from holdfast.storage.chain.abi import Function
from holdfast.storage.errors import FormatError, PeerError
from holdfast.storage.pieces.hasher import PieceHasher
from holdfast.storage.pieces.inclusion import prove_leaf
from holdfast.storage.pieces.piece import Piece
from holdfast.storage.pieces.piece_cid import PieceCID
from support.chain.deploy import PERIOD, WINDOW, Onchain

ADD = Function("addPieces", ("uint256", "address", "(bytes)[]", "bytes"), ("uint256",))
REMOVE = Function("schedulePieceDeletions", ("uint256", "uint256[]", "bytes"))
NEXT = Function("nextProvingPeriod", ("uint256", "uint256", "bytes"))
PROVE = Function("provePossession", ("uint256", "(bytes32,bytes32[])[]"))
DELETE = Function("deleteDataSet", ("uint256", "bytes"))
PROPOSE = Function("proposeDataSetStorageProvider", ("uint256", "address"))
CLAIM = Function("claimDataSetStorageProvider", ("uint256", "bytes"))
_CHALLENGES = 5
_CREATED = "0x" + keccak(b"DataSetCreated(uint256,address)").hex()


@dataclass
class Curious:
    """What it does wrong. `on_request(number, when, method, path)`: told before and after each one is handled."""

    on_request: Callable[[int, str, str, str], None] = lambda *_: None
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)  # method and path's beginning → status, words
    drop_transactions: bool = False  # it says that it sent one, and does not
    spoil: set[str] = field(default_factory=set)  # pieces that it gives out with a flipped byte


class CurioServer:
    """One provider: an account of the chain, and a server."""

    def __init__(self, onchain: Onchain, account: str) -> None:
        self.onchain, self.account = onchain, account
        self.faults = Curious()
        self.uploads: dict[str, bytes] = {}
        self.pieces: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.pulls: dict[str, str] = {}
        self.url = ""
        self._lock = threading.Lock()

    def register(self, **about: Any) -> None:
        """Into the registry."""
        self.onchain.register(self.account, self.url, **about)

    def clean(self) -> None:
        """What happens after two hours to what was not committed."""
        stored = {str(one) for number in self.sets() for one in self.stored(number).values()}
        self.uploads.clear()
        self.pieces = {cid: data for cid, data in self.pieces.items() if cid in stored}

    def sets(self) -> list[int]:
        """Data sets that it ever had."""
        logs = self.onchain.anvil.rpc.ask(
            "eth_getLogs",
            {
                "address": self.onchain.verifier, "fromBlock": "0x0",
                "topics": [_CREATED, None, "0x" + bytes(12).hex() + self.account[2:]],
            },
        )  # fmt: skip
        return [int(log["topics"][1], 16) for log in logs]

    def stored(self, data_set: int) -> dict[int, PieceCID]:
        """Active pieces of a data set, by their ids."""
        from holdfast.storage.chain.pdp import piece_of

        function = Function("getActivePieces", ("uint256",) * 3, ("(bytes)[]", "uint256[]", "bool"))
        cids, ids, _ = self.onchain.call(self.onchain.verifier, function, data_set, 0, 200)
        return {number: piece_of(data) for number, (data,) in zip(ids, cids, strict=True)}

    def begin(self, data_set: int) -> None:
        """A proving period: its challenges are drawn at its end."""
        onchain, anvil = self.onchain, self.onchain.anvil
        (deadline,) = onchain.call(onchain.service, Function("provingDeadline", ("uint256",), ("uint256",)), data_set)
        now = anvil.rpc.head() + 1
        if not deadline or deadline >= now:
            deadline = (deadline or now) + PERIOD
        while deadline < now:
            deadline += PERIOD
        at = deadline - WINDOW + 2
        anvil.transact(self.account, self.onchain.verifier, NEXT.encode(data_set, at, b""))

    def prove(self, data_set: int) -> None:
        """Go on to the end of the period, and prove five leaves that the chain draws."""
        onchain, anvil = self.onchain, self.onchain.anvil
        (epoch,) = onchain.call(
            onchain.verifier, Function("getNextChallengeEpoch", ("uint256",), ("uint256",)), data_set
        )
        anvil.mine(max(1, epoch - anvil.rpc.head()))
        (leaves,) = onchain.call(onchain.verifier, Function("getChallengeRange", ("uint256",), ("uint256",)), data_set)
        seed = keccak(epoch.to_bytes(32, "big"))
        proofs = []
        for i in range(_CHALLENGES):
            drawn = keccak(seed + data_set.to_bytes(32, "big") + i.to_bytes(8, "big"))
            at = int.from_bytes(drawn, "big") % leaves
            for cid in self.stored(data_set).values():
                if at < cid.leaves:
                    proofs.append(self._proof(cid, at))
                    break
                at -= cid.leaves
        anvil.transact(self.account, onchain.verifier, PROVE.encode(data_set, proofs))

    def _proof(self, cid: PieceCID, leaf: int) -> tuple[bytes, tuple[bytes, ...]]:
        data = self.pieces[str(cid)]
        found = prove_leaf(piece_of_bytes(data), leaf, lambda start, end: data[start:end])
        return found.node, found.siblings

    def delete(self, data_set: int) -> None:
        """Of one's own accord."""
        self.onchain.anvil.transact(self.account, self.onchain.verifier, DELETE.encode(data_set, b""))

    def hand_over(self, data_set: int, other: CurioServer) -> None:
        """Somebody else stores it from now on."""
        send, verifier = self.onchain.anvil.transact, self.onchain.verifier
        send(self.account, verifier, PROPOSE.encode(data_set, other.account))
        send(other.account, verifier, CLAIM.encode(data_set, b""))

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, bytes, dict[str, str]]:
        """One request."""
        with self._lock:
            number = len(self.requests)
            self.requests.append((method, path))
        self.faults.on_request(number, "before", method, path)
        for start, (status, words) in self.faults.refuse.items():
            if f"{method} {path}".startswith(start):
                return status, words.encode(), {}
        try:
            answer = self._handle(method, urlsplit(path).path, parse_qs(urlsplit(path).query), body, headers)
        except (KeyError, ValueError, TypeError, FormatError) as error:
            answer = 400, f"{type(error).__name__}: {error}".encode(), {}
        except PeerError as error:
            answer = 500, error.message.encode(), {}
        self.faults.on_request(number, "after", method, path)
        return answer

    def _handle(
        self, method: str, path: str, query: dict[str, list[str]], body: bytes, headers: Any
    ) -> tuple[int, bytes, dict[str, str]]:
        route = f"{method} {path}"
        if route == "GET /pdp/ping":
            return 200, b"", {}
        if route == "POST /pdp/piece/uploads":
            name = str(uuid.uuid4())
            self.uploads[name] = b""
            return 201, b"", {"Location": f"/pdp/piece/uploads/{name}"}
        if found := re.fullmatch(r"(PUT|POST) /pdp/piece/uploads/([0-9a-f-]+)", route):
            return self._upload(found[1], found[2], body)
        if route == "GET /pdp/piece":
            cid = query["pieceCid"][0]
            return _json({"pieceCid": cid}) if cid in self.pieces else (404, b"piece not found", {})
        if found := re.fullmatch(r"GET /pdp/piece/(\w+)/status", route):
            known = found[1] in self.pieces
            return _json({"pieceCid": found[1], "status": "announced"}) if known else (404, b"", {})
        if route == "POST /pdp/piece/pull":
            return self._pull(json.loads(body))
        if route == "POST /pdp/data-sets/create-and-add":
            return self._add(0, json.loads(body))
        if found := re.fullmatch(r"POST /pdp/data-sets/(\d+)/pieces", route):
            return self._add(int(found[1]), json.loads(body))
        if found := re.fullmatch(r"GET /pdp/data-sets/created/(0x[0-9a-f]+)", route):
            return self._created(found[1])
        if found := re.fullmatch(r"GET /pdp/data-sets/(\d+)/pieces/added/(0x[0-9a-f]+)", route):
            return self._added(int(found[1]), found[2])
        if found := re.fullmatch(r"DELETE /pdp/data-sets/(\d+)/pieces/(\d+)", route):
            extra = bytes.fromhex(json.loads(body)["extraData"][2:])
            return _json({"txHash": self._send(REMOVE.encode(int(found[1]), [int(found[2])], extra))})
        if found := re.fullmatch(r"(?:GET|HEAD) /piece/(\w+)", route):
            return self._piece(found[1], headers.get("Range"))
        return 404, b"no such route", {}

    def _upload(self, method: str, name: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if name not in self.uploads:
            return 404, b"no such upload", {}
        if method == "PUT":
            self.uploads[name] = body
            return 204, b"", {}
        data, wanted = self.uploads[name], json.loads(body)["pieceCid"]
        if not 127 <= len(data) <= 127 << 23:
            return 400, b"piece size is out of range", {}
        if str(piece_of_bytes(data).cid) != wanted:
            return 400, b"pieceCid does not match the data", {}
        self.pieces[wanted] = self.uploads.pop(name)
        return 200, b"", {}

    def _pull(self, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        if asked["recordKeeper"].lower() != self.onchain.service:
            return 403, b"recordKeeper is not allowed", {}
        for one in asked["pieces"]:
            cid, url = one["pieceCid"], one["sourceUrl"]
            if not url.endswith(f"/piece/{cid}"):
                return 400, b"sourceUrl must end in /piece/{pieceCid}", {}
            if cid not in self.pieces:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    data = answer.read()
                self.pulls[cid] = url
                if str(piece_of_bytes(data).cid) == cid:
                    self.pieces[cid] = data
        states = [
            {"pieceCid": one["pieceCid"], "status": "complete" if one["pieceCid"] in self.pieces else "failed"}
            for one in asked["pieces"]
        ]
        return _json({"status": "complete", "pieces": states})

    def _add(self, data_set: int, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        if data_set == 0 and asked["recordKeeper"].lower() != self.onchain.service:
            return 403, b"recordKeeper is not allowed", {}
        cids = [one["pieceCid"] for one in asked["pieces"]]
        extra = bytes.fromhex(asked["extraData"][2:])
        if not 1 <= len(cids) <= 40 or len(extra) > 8192:
            return 400, b"too many pieces, or too much extra data", {}
        if missing := [cid for cid in cids if cid not in self.pieces]:
            return 400, f"piece {missing[0]} was not uploaded".encode(), {}
        data = [(bytes(PieceCID.parse(cid).v2),) for cid in cids]
        mark = self._send(ADD.encode(data_set, self.onchain.service, data, extra))
        where = f"/pdp/data-sets/{data_set}/pieces/added/{mark}" if data_set else f"/pdp/data-sets/created/{mark}"
        return 201, b"", {"Location": where}

    def _send(self, data: bytes) -> str:
        """A transaction, tried first: one that would revert costs nothing, and is an error."""
        rpc, verifier = self.onchain.anvil.rpc, self.onchain.verifier
        fields = {"from": self.account, "to": verifier, "data": "0x" + data.hex(), "gas": hex(25_000_000)}
        rpc.ask("eth_call", fields, "latest")
        if self.faults.drop_transactions:
            return "0x" + keccak(data).hex()
        return str(rpc.ask("eth_sendTransaction", fields))

    def _receipt(self, mark: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.onchain.anvil.rpc.ask("eth_getTransactionReceipt", mark)
        return found

    def _created(self, mark: str) -> tuple[int, bytes, dict[str, str]]:
        receipt = self._receipt(mark)
        about = {"createMessageHash": mark, "service": "public", "dataSetCreated": False, "ok": None}
        if receipt is None:
            return _json(about | {"txStatus": "pending"})
        if receipt["status"] != "0x1":
            return _json(about | {"txStatus": "rejected", "ok": False})
        number = next(int(log["topics"][1], 16) for log in receipt["logs"] if log["topics"][0] == _CREATED)
        return _json(about | {"txStatus": "confirmed", "ok": True, "dataSetCreated": True, "dataSetId": number})

    def _added(self, data_set: int, mark: str) -> tuple[int, bytes, dict[str, str]]:
        receipt = self._receipt(mark)
        about = {"txHash": mark, "dataSetId": data_set, "pieceCount": 1, "addMessageOk": None, "piecesAdded": False}
        if receipt is None:
            return _json(about | {"txStatus": "pending"})
        if receipt["status"] != "0x1":
            return _json(about | {"txStatus": "rejected"})
        ids = [int(log["topics"][2], 16) for log in receipt["logs"] if log["address"] == self.onchain.service]
        return _json(
            about | {"txStatus": "confirmed", "addMessageOk": True, "piecesAdded": True, "confirmedPieceIds": ids}
        )

    def _piece(self, cid: str, wanted: str | None) -> tuple[int, bytes, dict[str, str]]:
        data = self.pieces.get(cid)
        if data is None:
            return 404, b"piece not found", {}
        if cid in self.faults.spoil:
            data = bytes([data[0] ^ 1]) + data[1:-1] + bytes([data[-1] ^ 1])
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
        if not found:
            return 200, data, {}
        start, end = int(found[1]), min(int(found[2]), len(data) - 1)
        return 206, data[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(data)}"}


def piece_of_bytes(data: bytes) -> Piece:
    """Its CommP, and the kept layer."""
    with PieceHasher(threads=1) as hasher:
        hasher.update(data)
        return hasher.finish()


def _json(found: object) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}


@contextmanager
def curio(onchain: Onchain, account: str) -> Iterator[CurioServer]:
    """A running one on a free port; not in the registry yet."""
    provider = CurioServer(onchain, account)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _do(self) -> None:
            status, body, headers = provider.handle(self.command, self.path, self._body(), self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != 204 and self.command != "HEAD":
                self.wfile.write(body)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _do  # noqa: N815 - http.server's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
