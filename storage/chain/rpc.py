"""`EthRpc`: one Eth JSON-RPC endpoint: reads at a block, logs, and transactions that were signed elsewhere."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...configs.roster import Provider
from ..control import Control
from ..errors import OversizeError, PeerError, SlowError, UnreachableError, WrongBytesError
from ..printable import printable

_MAX_ANSWER_BYTES = 8 << 20  # a page of logs
# Of a call, and of an event: 100 pieces are 20 KB, 10 providers 100. Offsets in an answer may all lead to one part:
# what comes out is bounded by the square of what came in, here by 300 MB.
_MAX_DATA_BYTES = 192 << 10
_MAX_LOGS = 100_000
_LOG_BLOCKS = 2_000  # asked for at once; most public endpoints allow as many, and say so where they do not
_NULL_ROUND = 12  # Lotus' code for an epoch in which no block was made
_REVERTED = 11  # Lotus' code for a call that the contract refused; others say it in words
_MAX_LOGS_S = 600.0


class RevertError(PeerError):
    """The contract refused the call. Not raised when the endpoint could not run it."""

    verdict = "REVERTED"
    retryable = False


class NoBlockError(WrongBytesError):
    """The endpoint has no block of this number: in some epochs none is made (null rounds), and others are to come.

    Lotus answers with an error, some endpoints with null, and Forest has given the block before.
    """

    verdict = "NO_BLOCK"


@dataclass(frozen=True, slots=True)
class BlockHead:
    """A block: its number (Filecoin's epoch), its hash, and its time in seconds since 1970."""

    number: int
    hash: str
    time_s: int


@dataclass(frozen=True, slots=True)
class Log:
    """An event as a contract emitted it. `topics` and `data` are bytes; position: (block, index in it)."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int
    transaction: str


class EthRpc:
    """Every method raises `PeerError`: `UnreachableError`, `SlowError`, `WrongBytesError`, `RevertError`.

    Numbers and bytes are checked when they come in. Nothing is retried. Calls may come from any thread.
    """

    def __init__(self, url: str, env: Mapping[str, str] | None = None) -> None:
        self.url = url
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.netloc}"  # what is shown and written down: a path may be a secret
        provider = Provider.at(url, "filecoin").model_copy(update={"name": self.name})
        self._control = Control(provider, env=env)
        self._ids = itertools.count(1)

    def ask(self, method: str, *parameters: object, max_bytes: int = _MAX_ANSWER_BYTES) -> Any:
        """The result of one call, as JSON has it."""
        number = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}).encode()
        headers = {"Content-Type": "application/json"}
        reply = self._control.call("POST", "", body, headers=headers, max_bytes=max_bytes)
        try:
            answer: Any = json.loads(reply.body)
            error = answer.get("error")
        except (ValueError, RecursionError, AttributeError) as cause:
            if reply.status >= 400:
                raise UnreachableError(f"{self.name} answers {reply.status}") from cause
            raise WrongBytesError(f"{self.name}: the answer to {method} is no JSON object") from cause
        if error is not None:
            raise self._refusal(method, error)
        if answer.get("id") != number or "result" not in answer:
            raise WrongBytesError(f"{self.name}: the answer to {method} is none to this call")
        return answer["result"]

    def number(self, method: str, *parameters: object) -> int:
        """The result of a call that is a number below 2^62."""
        return self._number(self.ask(method, *parameters), method)

    def chain_id(self) -> int:
        """314: mainnet; 314159: calibration."""
        return self.number("eth_chainId")

    def head(self) -> int:
        """The number of the newest block."""
        return self.number("eth_blockNumber")

    def block(self, number: int) -> BlockHead:
        """The block of this number on the chain that the endpoint follows now. Raises `NoBlockError`."""
        found = self.ask("eth_getBlockByNumber", hex(number), False)
        if not isinstance(found, dict):
            raise NoBlockError(f"{self.name} has no block {number}")
        at, mark, time_s = found.get("number"), found.get("hash"), found.get("timestamp")
        if self._number(at, "number") < number:
            raise NoBlockError(f"{self.name} has no block {number}, and gives the one before it")
        if self._number(at, "number") != number or not isinstance(mark, str) or len(mark) != 66:
            raise WrongBytesError(f"{self.name}: block {number} is another one, or has no hash")
        return BlockHead(number, mark.lower(), self._number(time_s, "timestamp"))

    def call(self, to: str, data: bytes, block: int) -> bytes:
        """What a contract answers, as of a block."""
        call = {"to": to, "data": "0x" + data.hex()}
        found = self.ask("eth_call", call, hex(block), max_bytes=2 * _MAX_DATA_BYTES)
        return self._bytes(found, "eth_call")

    def logs(self, address: str, topics: list[str | None], first: int, last: int) -> list[Log]:
        """Events of blocks first … last, in order: asked for in pages, in smaller ones where the endpoint refuses."""
        found: list[Log] = []
        size, at, end_s = _LOG_BLOCKS, first, time.monotonic() + _MAX_LOGS_S
        while at <= last:
            if time.monotonic() > end_s:
                raise SlowError(f"{self.name} has not given the events of {address} in {_MAX_LOGS_S:.0f} s")
            end = min(last, at + size - 1)
            where = {"address": address, "topics": topics, "fromBlock": hex(at), "toBlock": hex(end)}
            try:
                page = self.ask("eth_getLogs", where)
            except PeerError:
                if size == 1:
                    raise
                size = max(1, size // 4)
                continue
            found += self._logs(page, address, at, end)
            if len(found) > _MAX_LOGS:
                raise OversizeError(f"{self.name}: more than {_MAX_LOGS} events of {address}")
            at, size = end + 1, min(_LOG_BLOCKS, 2 * size)
        return sorted(found, key=lambda log: (log.block, log.index))

    def _logs(self, page: object, address: str, first: int, last: int) -> list[Log]:
        if not isinstance(page, list):
            raise WrongBytesError(f"{self.name}: the answer to eth_getLogs is no list")
        found = []
        for entry in page:
            if not isinstance(entry, dict) or not isinstance(entry.get("topics"), list):
                raise WrongBytesError(f"{self.name}: a log is not one")
            log = Log(
                str(entry.get("address")).lower(),
                tuple(self._bytes(topic, "topic") for topic in entry["topics"]),
                self._bytes(entry.get("data"), "data"),
                self._number(entry.get("blockNumber"), "blockNumber"),
                self._number(entry.get("logIndex"), "logIndex"),
                str(entry.get("transactionHash"))[:66],
            )
            if log.address != address.lower() or not first <= log.block <= last:
                raise WrongBytesError(f"{self.name}: a log of {log.address} in block {log.block} was not asked for")
            found.append(log)
        return found

    def _refusal(self, method: str, error: object) -> PeerError:
        code = error.get("code") if isinstance(error, dict) else None
        message = printable(str(error.get("message") if isinstance(error, dict) else error), 300)
        if code == _NULL_ROUND or "null round" in message:
            return NoBlockError(f"{self.name}: {method}: {message}")
        if code == _REVERTED or "revert" in message.lower():
            return RevertError(f"{self.name}: {method}: {message}")
        return UnreachableError(f"{self.name} refuses {method}: {message}")

    def _number(self, value: object, what: str) -> int:
        if not isinstance(value, str) or not value.startswith("0x") or not 2 < len(value) <= 66:
            raise WrongBytesError(f"{self.name}: {what} is no number")
        try:
            found = int(value, 16)
        except ValueError as error:
            raise WrongBytesError(f"{self.name}: {what} is no number") from error
        if found >= 1 << 62:
            raise WrongBytesError(f"{self.name}: {what} is too large")
        return found

    def _bytes(self, value: object, what: str) -> bytes:
        try:
            if not isinstance(value, str) or not value.startswith("0x"):
                raise ValueError("not hexadecimal")
            if len(value) > 2 * _MAX_DATA_BYTES + 2:
                raise ValueError("too long")
            return bytes.fromhex(value[2:])
        except ValueError as error:
            raise WrongBytesError(f"{self.name}: {what} is not hexadecimal") from error
