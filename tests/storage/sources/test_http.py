"""The bounded HTTP client over real sockets: redirects, secrets, proxies, TLS, framing."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast.storage.errors import (
    ConfigError,
    ForbiddenAddressError,
    MissingError,
    OversizeError,
    PeerError,
    TruncatedError,
    UnreachableError,
    WithheldError,
    WrongBytesError,
)
from holdfast.storage.limits import TransferLimits
from holdfast.storage.sources.http import Endpoint, HttpClient
from holdfast.storage.sources.netguard import NetGuard
from holdfast.storage.sources.transfer import Transfer
from support.mirror_server import MirrorServer, Reply

LOOPBACK = NetGuard.parse(["127.0.0.0/8"])


def _read(client: HttpClient, path: str, limit: int = 1 << 20) -> bytes:
    try:
        with client.get(path, Transfer()) as answer:
            return answer.read(limit)
    except PeerError:
        client.close()
        raise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x").write_bytes(b"some bytes")
    return tmp_path


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, MissingError), (410, WithheldError), (451, WithheldError), (403, WithheldError),
        (500, UnreachableError), (429, UnreachableError),
    ],
)  # fmt: skip
def test_each_status_has_its_verdict(folder: Path, status: int, error: type[PeerError]) -> None:
    with (
        MirrorServer(folder, lambda _, reply: Reply(status, {}, b"no")) as server,
        pytest.raises(error, match=str(status)),
    ):
        _read(HttpClient(Endpoint(server.url)), "/x")


def test_a_kept_connection_that_the_server_closed_is_replaced_silently(folder: Path) -> None:
    def close(_: str, reply: Reply) -> Reply:
        reply.cut = len(reply.body)
        return reply

    with MirrorServer(folder, close) as server:
        client = HttpClient(Endpoint(server.url))
        assert [_read(client, "/x") for _ in range(3)] == [b"some bytes"] * 3
        client.close()


def test_a_redirect_to_another_host_is_followed_without_the_secret(folder: Path) -> None:
    with MirrorServer(folder) as cdn:
        go = lambda path, reply: Reply(302, {"Location": f"{cdn.url}/x?sig=1"}, b"") if path == "hub" else None
        with MirrorServer(folder, go) as hub:
            secret = {"Authorization": "Bearer secret"}
            client = HttpClient(Endpoint(hub.url, secret, redirect_guard=LOOPBACK))
            assert _read(client, "/hub") == b"some bytes"
            client.close()
            assert hub.headers_seen[0]["Authorization"] == "Bearer secret"
            assert "Authorization" not in cdn.headers_seen[0]
            assert "secret" not in repr(client.endpoint)


def test_a_redirect_to_a_forbidden_address_makes_no_connection(folder: Path) -> None:
    with MirrorServer(folder) as canary:
        go = lambda path, reply: Reply(302, {"Location": f"{canary.url}/x"}, b"")
        with MirrorServer(folder, go) as hub, pytest.raises(ForbiddenAddressError):
            _read(HttpClient(Endpoint(hub.url)), "/hub")
        assert canary.requests == []


@pytest.mark.parametrize("location", ["ftp://x/y", "file:///etc/passwd", "http://", ""])
def test_redirects_to_nowhere_end_in_a_sentence(folder: Path, location: str) -> None:
    with MirrorServer(folder, lambda _, reply: Reply(302, {"Location": location}, b"")) as server:
        with pytest.raises(UnreachableError, match="redirect"):
            _read(HttpClient(Endpoint(server.url)), "/x")
        assert len(server.requests) <= 3


def test_an_endless_answer_is_left_at_the_limit(folder: Path) -> None:
    endless = lambda _, reply: Reply(
        200, {"Transfer-Encoding": "identity", "Content-Length": str(1 << 40)}, b"", endless=True
    )
    with MirrorServer(folder, endless) as server, pytest.raises(OversizeError):
        _read(HttpClient(Endpoint(server.url)), "/x", limit=1000)


def test_an_encoded_answer_is_refused(folder: Path) -> None:
    with MirrorServer(folder, lambda _, reply: Reply(200, {"Content-Encoding": "gzip"}, b"zz")) as server:
        with pytest.raises(WrongBytesError, match="encoded"):
            _read(HttpClient(Endpoint(server.url)), "/x")


def test_a_cut_answer_is_truncated(folder: Path) -> None:
    with MirrorServer(folder, lambda _, reply: Reply(200, {"Content-Length": "10"}, b"some bytes", cut=4)) as server:
        with pytest.raises(TruncatedError):
            _read(HttpClient(Endpoint(server.url)), "/x")


def test_a_proxy_of_the_environment_is_used_and_no_proxy_obeyed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "http:").mkdir()
    with MirrorServer(folder, lambda path, reply: Reply(200, {}, b"by proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        client = HttpClient(Endpoint("http://nowhere.invalid:81"))
        assert _read(client, "/x") == b"by proxy"
        client.close()
        monkeypatch.setenv("no_proxy", "nowhere.invalid")
        with pytest.raises(UnreachableError):
            _read(HttpClient(Endpoint("http://nowhere.invalid:81")), "/x")


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    ca = folder / "ca.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"tls")

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, folder / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", ca
    server.shutdown()
    server.server_close()


def test_https_with_a_ca_of_ones_own(tls_server: tuple[str, Path]) -> None:
    url, ca = tls_server
    client = HttpClient(Endpoint(url, ca_file=ca))
    assert _read(client, "/x") == b"tls"
    client.close()
    with pytest.raises(UnreachableError, match="certificate") as caught:
        _read(HttpClient(Endpoint(url)), "/x")
    assert "ca_file" in caught.value.hint


def _hint(url: str, **options: object) -> str:
    with pytest.raises(PeerError) as caught:
        _read(HttpClient(Endpoint(url, **options)), "/x")  # type: ignore[arg-type]
    assert caught.value.message
    return caught.value.hint


def test_who_cannot_connect_is_told_what_to_look_at(folder: Path, tls_server: tuple[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        limits = TransferLimits(first_byte_s=0.1)
        assert "later" in _hint(f"http://127.0.0.1:{port}", limits=limits)
    assert "port" in _hint(f"http://127.0.0.1:{port}")  # nobody listens there any more
    assert "spelling" in _hint("http://nowhere.invalid")
    with MirrorServer(folder) as plain:
        assert "http://" in _hint(plain.url.replace("http:", "https:"))
    away = lambda _, reply: Reply(302, {"Location": "http://10.0.0.1/x"}, b"")
    with MirrorServer(folder, away) as hub:
        assert "--allow-net" in _hint(hub.url)
    with MirrorServer(folder, lambda _, reply: Reply(302, {"Location": "/x"}, b"")) as hub:
        assert "end" in _hint(hub.url)


@pytest.mark.parametrize(
    ("status", "word"), [(401, "token_env"), (403, "token_env"), (429, "later"), (503, "later"), (400, "address")]
)
def test_who_is_refused_is_told_what_may_help(folder: Path, status: int, word: str) -> None:
    with MirrorServer(folder, lambda _, reply: Reply(status, {}, b"")) as server:
        assert word in _hint(server.url)


def test_a_cancelled_transfer_wakes_its_reader(folder: Path) -> None:
    def stall(_: str, reply: Reply) -> Reply:
        return Reply(200, {"Content-Length": "100"}, b"start", pause_s=0.0, endless=False)

    with MirrorServer(folder, stall) as server:
        client, transfer = HttpClient(Endpoint(server.url)), Transfer()
        reason = MissingError("enough")
        with pytest.raises(MissingError, match="enough"), client.get("/x", transfer) as answer:
            threading.Timer(0.05, transfer.cancel, [reason]).start()
            answer.readinto(memoryview(bytearray(100)))
    assert transfer.cancelled


class _Hosts:
    """One server on every address of 127.0.0.0/8; counts the connections that are open."""

    def __enter__(self) -> "_Hosts":
        outer = self
        self.open = 0
        self.hold = threading.Event()
        self.hold.set()
        self.held = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer.open += 1

            def finish(self) -> None:
                super().finish()
                outer.open -= 1

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"ho")
                self.wfile.flush()
                outer.held.set()
                outer.hold.wait(10)
                self.wfile.write(b"st")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_any_number_of_hosts_may_be_redirected_to_and_few_connections_are_kept(folder: Path) -> None:
    with _Hosts() as hosts:
        go = lambda path, _: Reply(302, {"Location": f"http://127.0.0.{path}:{hosts.port}/x"}, b"")
        with MirrorServer(folder, go) as hub:
            client = HttpClient(Endpoint(hub.url, redirect_guard=LOOPBACK))
            for number in [*range(2, 42), *range(2, 8)]:
                assert _read(client, f"/{number}") == b"host"
            limit = time.monotonic() + 5
            while hosts.open > 16:
                assert time.monotonic() < limit, hosts.open
                time.sleep(0.01)
            client.close()
            while hosts.open:
                assert time.monotonic() < limit, hosts.open
                time.sleep(0.01)


def test_a_request_under_way_survives_that_its_host_is_forgotten(folder: Path) -> None:
    with _Hosts() as hosts:
        go = lambda path, _: Reply(302, {"Location": f"http://127.0.0.{path}:{hosts.port}/x"}, b"")
        with MirrorServer(folder, go) as hub:
            client = HttpClient(Endpoint(hub.url, redirect_guard=LOOPBACK))
            hosts.hold.clear()
            found: list[bytes] = []
            reader = threading.Thread(target=lambda: found.append(_read(client, "/2")))
            reader.start()
            assert hosts.held.wait(5)
            for number in range(3, 30):
                client._follow("/x", _Moved(f"http://127.0.0.{number}:{hosts.port}/x"), 1)  # type: ignore[arg-type]
            hosts.hold.set()
            reader.join(5)
            assert found == [b"host"]
            limit = time.monotonic() + 5
            while hosts.open:  # not kept: nobody would ever close it
                assert time.monotonic() < limit
                time.sleep(0.01)
            client.close()


class _Moved:
    """An answer that redirects."""

    def __init__(self, location: str) -> None:
        self.headers = {"Location": location}


@pytest.mark.parametrize(
    "url",
    ["http://bob:hunter2@host", "https://hunter2@host/x", "http://bob:hunter2@[::1", "bob:hunter2@host",
     "http://bob:hun/hunter2@host:x", "http:bob:hunter2@host"],
)  # fmt: skip
def test_an_address_with_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint(url)
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "bob" not in caught.value.message + caught.value.hint


def test_the_refusal_points_to_the_roster() -> None:
    with pytest.raises(ConfigError) as caught:
        Endpoint("http://bob:hunter2@host")
    assert "token_env" in caught.value.hint
    assert "headers_env" in caught.value.hint
    Endpoint("http://host/@scope/x")


@pytest.mark.parametrize("url", ["http://[::1", "http://a:99999", "ftp://a", "http://", "nonsense"])
def test_what_is_no_address_is_a_sentence(url: str) -> None:
    with pytest.raises(ConfigError, match="http"):
        Endpoint(url)


def test_a_handshake_that_is_never_answered_ends_when_it_is_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client, transfer = HttpClient(Endpoint(f"https://127.0.0.1:{silent.getsockname()[1]}")), Transfer()
        threading.Timer(0.2, transfer.cancel, [MissingError("enough")]).start()
        started = time.monotonic()
        with pytest.raises(MissingError, match="enough"), client.get("/x", transfer):
            pass
        assert time.monotonic() - started < 2


def test_a_connect_that_is_never_answered_ends_when_it_is_cancelled() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:  # the queue is full: the next SYN is dropped
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        client, transfer = HttpClient(Endpoint(f"http://127.0.0.1:{full.getsockname()[1]}")), Transfer()
        threading.Timer(0.2, transfer.cancel, [MissingError("enough")]).start()
        started = time.monotonic()
        with pytest.raises(MissingError, match="enough"), client.get("/x", transfer):
            pass
        assert time.monotonic() - started < 2
        for filler in fillers:
            filler.close()


def test_only_the_status_406_and_not_the_words_mean_that_plain_files_are_refused(folder: Path) -> None:
    with MirrorServer(folder, lambda _, reply: Reply(503, {}, b"406")) as server:
        with pytest.raises(UnreachableError) as caught:
            _read(HttpClient(Endpoint(server.url)), "/x")
    assert caught.value.status == 503
    assert UnreachableError("406").status == 0
