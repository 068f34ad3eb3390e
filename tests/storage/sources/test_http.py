"""The bounded HTTP client over real sockets: redirects, secrets, proxies, TLS, framing."""

import datetime
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast.storage.errors import (
    ForbiddenAddressError,
    MissingError,
    OversizeError,
    PeerError,
    TruncatedError,
    UnreachableError,
    WithheldError,
    WrongBytesError,
)
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
    with pytest.raises(UnreachableError, match="certificate"):
        _read(HttpClient(Endpoint(url)), "/x")


def test_a_cancelled_transfer_wakes_its_reader(folder: Path) -> None:
    def stall(_: str, reply: Reply) -> Reply:
        return Reply(200, {"Content-Length": "100"}, b"start", pause_s=0.0, endless=False)

    with MirrorServer(folder, stall) as server:
        client, transfer = HttpClient(Endpoint(server.url)), Transfer()
        reason = MissingError("enough")
        with pytest.raises(MissingError, match="enough"), client.get("/x", transfer) as answer:
            threading.Timer(0.05, transfer.cancel, [reason]).start()
            answer.readinto(memoryview(bytearray(100)))
    assert os.getpid()
