"""The RPC client of Kubo against what calls itself a Kubo: every wait ends, every answer. Real ones: tests/daemons."""

import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.configs.roster import Provider
from holdfast.storage.cid import CID, RAW
from holdfast.storage.errors import (
    ConfigError,
    HoldfastError,
    IncompleteError,
    OversizeError,
    PeerError,
    QuotaError,
    SlowError,
    TruncatedError,
    UnreachableError,
    WrongBytesError,
)
from holdfast.storage.pins import kubo_rpc
from holdfast.storage.pins.kubo import KuboPins
from holdfast.storage.pins.kubo_rpc import KuboRpc, _gathered, failure

X = CID.of(RAW, b"x")
TOKEN = "s3cret-token"


class Answers(BaseHTTPRequestHandler):
    """What the test's server does with every request; `plan` is set by the test."""

    protocol_version = "HTTP/1.1"
    plan: ClassVar[list[bytes]] = []
    status, trailer, chunked, drip_s = 200, b"", True, 0.0
    seen: ClassVar[list[str]] = []
    release = threading.Event()

    def do_POST(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        while self.headers.get("Transfer-Encoding") == "chunked":
            size = int(self.rfile.readline(), 16)
            self.rfile.read(size + 2)
            if not size:
                break
        self.send_response(self.status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in self.plan:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
            if self.drip_s:
                self.release.wait(self.drip_s)
        if self.chunked:
            self.wfile.write(b"0\r\n" + self.trailer + b"\r\n")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Answers]]:
    class Mine(Answers):
        plan: ClassVar[list[bytes]] = []
        seen: ClassVar[list[str]] = []
        release = threading.Event()

    running = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    running.daemon_threads = True
    running.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    Mine.url = f"http://127.0.0.1:{running.server_address[1]}"  # type: ignore[attr-defined]
    try:
        yield Mine
    finally:
        Mine.release.set()
        running.shutdown()
        running.server_close()
        thread.join()


def provider(server: type[Answers]) -> Provider:
    return Provider(name="odd", kind="kubo", url=server.url, token_env="TOKEN")  # type: ignore[attr-defined]


def rpc(server: type[Answers]) -> KuboRpc:
    return KuboRpc(provider(server), env={"TOKEN": TOKEN})


def line(found: object) -> bytes:
    return json.dumps(found).encode() + b"\n"


STATS = line({"Stats": {"BlockCount": 3, "BlockBytesCount": 9}})


def test_a_whole_answer_counts_and_the_token_is_sent(server: type[Answers]) -> None:
    server.plan = [STATS]
    assert rpc(server).import_car([b"car"]) == 3
    assert server.seen == [f"Bearer {TOKEN}"]


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ([], TruncatedError),
        ([line({"Root": {"Cid": {"/": str(X)}}})], TruncatedError),
        ([b"nonsense\n"], WrongBytesError),
        ([b"[1]\n"], WrongBytesError),
        ([line({"Stats": {"BlockCount": "x"}})], WrongBytesError),
        ([line({"Stats": {"BlockCount": [1]}})], WrongBytesError),
        ([b'{"Stats": {"BlockCount": 1e999}}\n'], WrongBytesError),
        ([line({"Stats": {"BlockCount": -1}})], WrongBytesError),
        ([line({"Stats": {"BlockCount": True}})], WrongBytesError),
        ([line({"Message": "no space left on device", "Type": "error"})], QuotaError),
        ([line({"Message": "\x1b[31mred", "Type": "error"})], PeerError),
        ([b"x" * 70_000], OversizeError),
        ([b"\n" * 2000], OversizeError),
        ([b"[" * 50_000 + b"\n"], WrongBytesError),
    ],
)
def test_nonsense_is_a_typed_error_that_shows_no_secret(
    server: type[Answers], plan: list[bytes], error: type[HoldfastError]
) -> None:
    server.plan = plan
    with pytest.raises(error) as caught:
        rpc(server).import_car([b"car"])
    assert TOKEN not in caught.value.message
    assert "\x1b" not in caught.value.message


def test_an_error_in_the_trailer_is_an_error(server: type[Answers]) -> None:
    server.plan, server.trailer = [STATS], b"X-Stream-Error: it went wrong at the end\r\n"
    with pytest.raises(PeerError, match="it went wrong at the end"):
        rpc(server).import_car([b"car"])


def test_an_answer_that_is_cut_is_no_success(server: type[Answers]) -> None:
    server.plan, server.chunked = [STATS], False
    with pytest.raises(TruncatedError):
        rpc(server).import_car([b"car"])


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, ConfigError, "refuses the token"), (403, ConfigError, "refuses the token"),
        (404, ConfigError, "not the RPC interface"), (503, UnreachableError, "503"),
        (302, UnreachableError, "redirects"),
    ],
)  # fmt: skip
def test_refusals_by_blame(server: type[Answers], status: int, error: type[HoldfastError], words: str) -> None:
    server.status, server.plan = status, [b"{}"]
    with pytest.raises(error, match=words) as caught:
        rpc(server).import_car([b"car"])
    with pytest.raises(HoldfastError) as other:  # by ipfshttpclient, which knows less
        KuboPins(provider(server), env={"TOKEN": TOKEN}).version()
    for found in (caught.value, other.value):
        assert TOKEN not in f"{found.message} {found.hint}"


def test_a_pin_that_is_not_confirmed_is_none(server: type[Answers]) -> None:
    server.plan = [line({"Progress": 5})]
    with pytest.raises(TruncatedError, match="did not confirm"):
        list(rpc(server).pin([X], "", stall_s=5))
    server.plan = [line({"Progress": 5}), line({"Pins": [str(X)]})]
    assert list(rpc(server).pin([X], "", stall_s=5)) == [5, 5]
    server.plan = [line({"Progress": "many"})]
    with pytest.raises(WrongBytesError):
        list(rpc(server).pin([X], "", stall_s=5))


def test_a_call_ends_however_slowly_it_drips(server: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    server.plan, server.drip_s = [b" "] * 10_000, 0.05
    monkeypatch.setattr(kubo_rpc, "IMPORT", replace(kubo_rpc.IMPORT, answer_s=0.5))
    with pytest.raises(SlowError, match="was not done"):
        rpc(server).import_car([b"car"])


def test_silence_ends_a_call(server: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    server.plan, server.drip_s = [b" ", STATS], 30
    monkeypatch.setattr(kubo_rpc, "IMPORT", replace(kubo_rpc.IMPORT, idle_s=0.3))
    with pytest.raises(SlowError, match="said nothing"):
        rpc(server).import_car([b"car"])


def test_a_list_is_bounded_and_holds_what_was_asked_for(server: type[Answers], monkeypatch: pytest.MonkeyPatch) -> None:
    target = KuboPins(provider(server), env={"TOKEN": TOKEN})
    server.plan = [line({"Cid": str(CID.of(RAW, b"other")), "Name": "\x1b[31m", "Type": "recursive"})]
    assert target.ls(X) == []
    assert [pin.name for pin in target.ls()] == ["[31m"]
    server.plan = [line({"Cid": str(X)})] * 2000
    with pytest.raises(OversizeError):
        target.ls(X)
    server.plan = [line({"Keys": {}})]
    with pytest.raises(WrongBytesError):
        target.ls()


@given(st.lists(st.integers(0, 200_000), max_size=12), st.integers(0))
def test_small_parts_are_sent_together_and_large_ones_as_they_are(sizes: list[int], seed: int) -> None:
    parts = [random.Random(seed + number).randbytes(size) for number, size in enumerate(sizes)]
    sent = list(_gathered(parts))
    assert b"".join(sent) == b"".join(parts)
    large = [part for part in parts if len(part) >= 1 << 16]
    assert [id(part) for part in sent if any(part is one for one in large)] == [id(part) for part in large]
    assert all(len(part) < 2 << 16 for part in sent if not any(part is one for one in large))
    assert len(sent) <= 2 * len(large) + sum(sizes) // (1 << 16) + 1


@pytest.mark.parametrize(
    ("words", "error"),
    [("no space left on device", QuotaError), ("ipld: could not find bafkqaaa", IncompleteError), ("else", PeerError)],
)
def test_what_matters_may_stand_behind_a_long_path(words: str, error: type[PeerError]) -> None:
    found = failure("k", f"failed to write to /{'long/' * 200}: {words}")
    assert type(found) is error
    assert len(found.message) < 400
