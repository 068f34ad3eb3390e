"""nginx over a folder, plain and with TLS, on free loopback ports: the mirror that everybody knows."""

from __future__ import annotations

import datetime
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_CONFIG = """
{user} daemon off; worker_processes 1; error_log {work}/error.log; pid {work}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
  uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
  ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem;
  server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl; root {folder}; }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """Where it listens, and the certificate to believe."""

    url: str
    tls_url: str
    ca_file: Path


def available() -> bool:
    """Whether nginx is installed (Debian: `apt-get install nginx-light`)."""
    return shutil.which("nginx") is not None or Path("/usr/sbin/nginx").exists()


@contextmanager
def nginx(folder: Path, work: Path) -> Iterator[Nginx]:
    """Serve `folder`; `work` is an empty folder for nginx's own files."""
    work.mkdir(parents=True)
    port, tls_port = _free_port(), _free_port()
    _certificate(work)
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""  # else its workers may not read a temporary folder
    config = _CONFIG.format(user=user, work=work, folder=folder, port=port, tls_port=tls_port)
    (work / "nginx.conf").write_text(config)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-c", work / "nginx.conf", "-e", work / "error.log"])
    try:
        _wait_for(port, process)
        yield Nginx(f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}", work / "cert.pem")
    finally:
        process.terminate()
        process.wait(timeout=20)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 10
    while time.monotonic() < limit and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise SystemExit("nginx did not start")


def _certificate(work: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (work / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (work / "key.pem").write_bytes(private)
