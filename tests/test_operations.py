"""What docs/operations.md tells an operator to type, typed."""

from __future__ import annotations

import datetime
import http.client
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.configs.roster import Provider, Roster
from holdfast.pipeline.publish import publish
from holdfast.storage.blocks.car_file import first_missing
from holdfast.storage.blocks.check import Checked, check
from holdfast.storage.blocks.disk import DiskStore
from holdfast.storage.get import get
from support.running_node import RunningNode, publish_folder

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations.md"
DATA = random.Random(1).randbytes(300_000)


def block(mark: str) -> str:
    pattern = rf"^<!-- {mark} -->\n```\w+\n(.*?)^```$"
    (found,) = re.findall(pattern, OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


def certificate(folder: Path) -> Path:
    """One for 127.0.0.1, signed by itself, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "peer.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "peer.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "peer.pem"


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[int]:
    """The server block of the document, on a port of its own, in front of `upstream`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    server = block("nginx").replace("127.0.0.1:4301", upstream.removeprefix("http://"))
    server = server.replace("listen 443", f"listen 127.0.0.1:{port}").replace("peer.example", "localhost")
    server = server.replace("/etc/ssl/localhost.pem", str(folder / "peer.pem"))
    server = server.replace("/etc/ssl/localhost.key", str(folder / "peer.key"))
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{server}}}\n"
    )
    process = subprocess.Popen(["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)])
    try:
        limit = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < limit
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx")
def test_a_peer_behind_nginx_with_tls(tmp_path: Path) -> None:
    ca = certificate(tmp_path)
    with RunningNode(tmp_path / "repo", token=b"t") as node:
        root = publish_folder(node.store, tmp_path / "data", {"data/a.bin": DATA, "data/b.bin": DATA[:5]})
        with nginx(tmp_path, node.url) as port:
            connection = http.client.HTTPSConnection(
                "localhost", port, context=ssl.create_default_context(cafile=ca), timeout=10
            )
            path = f"/ipfs/{root}/data/a.bin"
            connection.request("GET", path, headers={"Range": "bytes=100-299", "Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (206, DATA[100:300])
            assert answer.headers["Content-Encoding"] is None
            connection.request("GET", path, headers={"If-None-Match": answer.headers["ETag"]})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 304
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 401, "a proxy on this machine speaks for others"
            connection.close()
            provider = Provider(name="p", kind="peer", url=f"https://localhost:{port}", ca_file=ca)
            found = get(f"ipfs://{root}", tmp_path / "copy", sources=Roster(providers=(provider,)))
            assert found.sources[0].wrong == 0
    assert (tmp_path / "copy/data/a.bin").read_bytes() == DATA


@pytest.mark.skipif(not (shutil.which("sqlite3") and shutil.which("tar")), reason="needs sqlite3 and tar")
def test_a_backup_is_taken_beside_a_running_peer_and_restored(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "repo") as node:
        publish_folder(node.store, tmp_path / "data", {"a.bin": DATA})
        shutil.copytree(Path(__file__).parent / "support", tmp_path / "text")
        root = publish(tmp_path / "text", name="t", repo=tmp_path / "repo").root  # packed: the repository owns it
        done = subprocess.run(["bash", "-euc", block("backup")], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert node.get(f"/ipfs/{root}?format=raw").status == 200
    command = block("restore").replace("holdfast", f"{sys.executable} -m holdfast")
    done = subprocess.run(["bash", "-euc", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "backup" / "serve.lock").exists()
    with DiskStore(tmp_path / "backup").open(create=False) as store:
        assert list(check(store, Checked())) == []
        assert first_missing(store, root) is None


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / "holdfast.service"
    unit.write_text(block("systemd").replace("/opt/holdfast/bin/holdfast", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if "holdfast.service" in line and "SO_PASSCRED" not in line]
    assert complaints == []
