"""`Curio`: the HTTP interface by which a Filecoin storage provider takes pieces (curio, pdp/README.md).

Upload, find, make a data set of pieces, add to one, fetch from another provider. What it says is its
claim: what counts is read from the chain.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...configs.roster import Provider
from ..control import Control, Reply, refusal
from ..errors import MissingError, SlowError, UnreachableError, WrongBytesError
from ..pieces.piece_cid import PieceCID
from ..printable import printable
from ..sources.dial import Dial, TlsConnection
from ..sources.netguard import NetGuard
from ..sources.transfer import Transfer

# More are refused (curio, pdp/handlers_add.go); signed, they are 5.5 of 8 KiB that a message may have.
MAX_PIECES_A_CALL = 40
_MIN_RATE_BYTES_S = 100_000  # slower, and a piece of 1 GB takes three hours: longer than it is kept
_IDLE_S = 60.0  # without a byte taken
_FINISH_S = 600.0  # it computes CommP of up to 1 GiB before it answers


class Curio:
    """One provider. Raises `PeerError`, and `ConfigError` for a token that it refuses. No call is repeated.

    `guard`: for one that the registry named, in which anybody can be.
    """

    def __init__(self, provider: Provider, env: Mapping[str, str], guard: NetGuard | None = None) -> None:
        self.provider, self._env, self._guard = provider, env, guard or NetGuard(guarded=False)
        self._control = Control(provider, env=env, guard=guard)

    def has(self, piece: PieceCID) -> bool:
        """Whether it has the piece, parked or stored, ready to be committed."""
        reply = self._control.call("GET", f"/pdp/piece?pieceCid={piece}")
        if reply.status == 404:
            return False
        self._expect(reply, (200,), "this piece")
        return True

    def upload(self, piece: PieceCID, parts: Iterable[bytes], check: Callable[[], None]) -> None:
        """Send a piece. It is `has` a moment later; it is removed after two hours unless it is committed.

        `check` is called again and again, and may end it by raising.
        """
        reply = self._control.call("POST", "/pdp/piece/uploads")
        self._expect(reply, (201,), "an upload")
        place = self._location(reply, "/pdp/piece/uploads/")
        self._put(place, piece.size, parts, check)
        body = json.dumps({"pieceCid": str(piece)}).encode()
        done = self._control.call("POST", place, body, headers=_JSON, timeout_s=_FINISH_S)
        self._expect(done, (200,), "the piece")

    def create_and_add(self, service: str, pieces: Sequence[PieceCID], extra: bytes) -> str:
        """Have a data set made with pieces that it `has`: the hash of the transaction that it sent."""
        body = {"recordKeeper": service, "pieces": _pieces(pieces), "extraData": "0x" + extra.hex()}
        reply = self._post("/pdp/data-sets/create-and-add", body)
        self._expect(reply, (201,), "the data set")
        return self._location(reply, "/pdp/data-sets/created/").rsplit("/", 1)[1]

    def add(self, data_set: int, pieces: Sequence[PieceCID], extra: bytes) -> str:
        """Have pieces that it `has` added to a data set: the hash of the transaction that it sent."""
        reply = self._post(
            f"/pdp/data-sets/{data_set}/pieces", {"pieces": _pieces(pieces), "extraData": "0x" + extra.hex()}
        )
        self._expect(reply, (201,), "these pieces")
        return self._location(reply, f"/pdp/data-sets/{data_set}/pieces/added/").rsplit("/", 1)[1]

    def created(self, transaction: str) -> bool | None:
        """Whether a `create_and_add` went well; None: it is under way. Raises `MissingError` for an unknown one."""
        answer = self._json(self._control.call("GET", f"/pdp/data-sets/created/{transaction}"), "this transaction")
        return _outcome(answer, "ok")

    def added(self, data_set: int, transaction: str) -> bool | None:
        """Whether an `add` went well; None: it is under way. Raises `MissingError` for an unknown one."""
        path = f"/pdp/data-sets/{data_set}/pieces/added/{transaction}"
        return _outcome(self._json(self._control.call("GET", path), "this transaction"), "addMessageOk")

    def pull(
        self, service: str, data_set: int | None, pieces: Mapping[PieceCID, str], extra: bytes
    ) -> dict[PieceCID, str]:
        """Have it fetch pieces from URLs that end in /piece/{PieceCID}: how far each is. Said again, it goes on.

        One of pending, inProgress, retrying, complete, failed.
        """
        body: dict[str, Any] = {
            "extraData": "0x" + extra.hex(),
            "recordKeeper": service,
            "pieces": [{"pieceCid": str(piece), "sourceUrl": url} for piece, url in pieces.items()],
        }
        if data_set is not None:
            body["dataSetId"] = data_set
        answer = self._json(self._post("/pdp/piece/pull", body), "these pieces")
        found = answer.get("pieces")
        if not isinstance(found, list):
            raise WrongBytesError(f"{self.provider.name}: the answer to a pull names no pieces")
        said = {str(one.get("pieceCid")): one.get("status") for one in found if isinstance(one, dict)}
        return {piece: printable(str(said.get(str(piece), "pending")), 20) for piece in pieces}

    def announced(self, piece: PieceCID) -> str:
        """How far the announcing of a piece to the network's index is, in the provider's words; "" if it does none."""
        reply = self._control.call("GET", f"/pdp/piece/{piece}/status")
        if reply.status in (404, 405, 501):
            return ""
        return printable(str(self._json(reply, "this piece").get("status", "")), 30)

    def _put(self, place: str, size: int, parts: Iterable[bytes], check: Callable[[], None]) -> None:
        """The bytes, by http.client: they come from a generator in this thread; aiohttp would need a loop."""
        url = urlsplit(self.provider.url)
        path = url.path.rstrip("/") + place
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        headers |= self.provider.headers(self._env)
        transfer, limit_s = Transfer(), _FINISH_S + size / _MIN_RATE_BYTES_S
        late = SlowError(f"{self.provider.name} has not taken {size} bytes in {limit_s:.0f} s")
        timer = threading.Timer(limit_s, transfer.cancel, (late,))  # a socket's timeout is none for a byte a minute
        timer.daemon = True
        connection = self._connection(transfer)
        timer.start()
        try:
            connection.request("PUT", path, _checked(parts, check), headers)
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.read(1 << 16))
        except (OSError, http.client.HTTPException) as error:
            transfer.check()
            if isinstance(error, TimeoutError):
                raise SlowError(f"{self.provider.name} took nothing for {_IDLE_S:.0f} s") from error
            raise UnreachableError(f"{self.provider.name} cut the upload: {error or type(error).__name__}") from error
        finally:
            timer.cancel()
            transfer.detach()
            connection.close()
        self._expect(reply, (204,), "these bytes")

    def _connection(self, transfer: Transfer) -> http.client.HTTPConnection:
        """To an address that the guard lets pass, and which `transfer` can end while it is made."""
        url = urlsplit(self.provider.url)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=self.provider.ca_file)
            connection = TlsConnection(host, port, timeout=_IDLE_S, context=context, transfer=transfer)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_IDLE_S)
        connection._create_connection = Dial(self._guard, transfer)  # type: ignore[attr-defined]
        return connection

    def _post(self, path: str, body: Mapping[str, Any]) -> Reply:
        return self._control.call("POST", path, json.dumps(body).encode(), headers=_JSON)

    def _json(self, reply: Reply, what: str) -> dict[str, Any]:
        self._expect(reply, (200, 201, 202), what)
        try:
            found = json.loads(reply.body)
        except (ValueError, RecursionError) as error:
            raise WrongBytesError(f"{self.provider.name}: the answer is not JSON") from error
        if not isinstance(found, dict):
            raise WrongBytesError(f"{self.provider.name}: the answer is not a JSON object")
        return found

    def _expect(self, reply: Reply, good: tuple[int, ...], what: str) -> None:
        if reply.status in good:
            return
        said = printable(reply.body.decode("utf-8", "replace").strip(), 200)
        error = refusal(self.provider.name, reply, said, what)
        raise error if reply.status != 404 else MissingError(error.message)

    def _location(self, reply: Reply, below: str) -> str:
        """The path that it names; nothing else than one below `below` is gone to."""
        found = re.search(re.escape(below) + r"([0-9A-Za-z-]{1,80})$", reply.location, re.ASCII)
        if found is None:
            raise WrongBytesError(f"{self.provider.name} names no place below {below}")
        return below + found[1]


_JSON = {"Content-Type": "application/json"}


def _outcome(answer: Mapping[str, Any], key: str) -> bool | None:
    if answer.get("txStatus") == "rejected":
        return False
    done = answer.get(key)
    return done if isinstance(done, bool) else None


def _pieces(pieces: Sequence[PieceCID]) -> list[dict[str, Any]]:
    return [{"pieceCid": str(one), "subPieces": [{"subPieceCid": str(one)}]} for one in pieces]


def _checked(parts: Iterable[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for part in parts:
        check()
        yield part
