"""Calls to the interface of a provider: bounded, and nothing secret in what they say."""

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast.configs.roster import Provider
from holdfast.storage.control import Control
from holdfast.storage.errors import OversizeError, UnreachableError, WrongBytesError
from support.mirror_server import MirrorServer, Reply


def control(url: str) -> Control:
    return Control(Provider(name="alice", kind="peer", url=url), env={})


def test_an_answer_comes_as_it_is_and_no_encoding_is_asked_for(tmp_path: Path) -> None:
    with MirrorServer(tmp_path, lambda _path, _reply: Reply(418, {"Content-Type": "text/plain"}, b"tea")) as server:
        reply = control(server.url).call("GET", "/pins")
        assert (reply.status, reply.body, reply.content_type, reply.authorized) == (418, b"tea", "text/plain", False)
        assert {headers["Accept-Encoding"] for headers in server.headers_seen} == {"identity"}


def test_an_encoded_answer_is_refused_by_name(tmp_path: Path) -> None:
    reply = Reply(200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}"))
    with MirrorServer(tmp_path, lambda _path, _reply: reply) as server, pytest.raises(WrongBytesError, match="gzip"):
        control(server.url).call("GET", "/pins")


def test_an_answer_is_bounded(tmp_path: Path) -> None:
    with MirrorServer(tmp_path, lambda _path, _reply: Reply(200, {}, bytes(5000))) as server:
        with pytest.raises(OversizeError):
            control(server.url).call("GET", "/pins", max_bytes=4999)
        assert len(control(server.url).call("GET", "/pins", max_bytes=5000).body) == 5000


@pytest.fixture
def proxy() -> Iterator[str]:
    """One that refuses every tunnel."""

    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_password_of_a_proxy_is_never_shown(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:hunter2@{proxy}")
    with pytest.raises(UnreachableError) as caught:
        control("https://provider.example").call("GET", "/pins")
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
    assert "407" in caught.value.message
