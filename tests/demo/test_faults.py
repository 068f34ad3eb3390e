"""The fault server: honest answers over keep-alive, every behaviour to whom it is meant for, and its figures."""

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from holdfast.demo.faults.behaviour import VARIANTS, Behaviour
from holdfast.demo.faults.server import FaultServer
from holdfast.storage.errors import HoldfastError, PeerError
from holdfast.storage.limits import TransferLimits
from holdfast.storage.sources.http import Endpoint, HttpClient
from holdfast.storage.sources.transfer import Transfer

DATA = random.Random(1).randbytes(100_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").write_bytes(DATA)
    (tmp_path / "data/y").write_bytes(bytes(range(256)))
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


def _ask(
    connection: http.client.HTTPConnection, path: str, span: str = "", method: str = "GET"
) -> tuple[int, bytes, str]:
    connection.request(method, path, headers={"Range": span} if span else {})
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers.get("Content-Range", "")


def _read(url: str, limits: TransferLimits | None = None) -> bytes:
    client = HttpClient(Endpoint(url, limits=limits or TransferLimits(first_byte_s=0.3)))
    try:
        with client.get("/data/x", Transfer()) as answer:
            return answer.read(len(DATA))
    finally:
        client.close()


def test_an_honest_folder_over_one_connection(folder: Path) -> None:
    with FaultServer(folder) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        assert _ask(connection, "/data/x") == (200, DATA, "")
        assert _ask(connection, "/data/x", "bytes=5-9") == (206, DATA[5:10], f"bytes 5-9/{len(DATA)}")
        assert _ask(connection, "/data/x", "bytes=99990-") == (206, DATA[-10:], f"bytes 99990-99999/{len(DATA)}")
        assert _ask(connection, "/data/x", "bytes=99990-200000")[1] == DATA[-10:]
        assert _ask(connection, "/data/x", "bytes=100000-")[0] == 416
        assert _ask(connection, "/data/x", method="HEAD")[:2] == (200, b"")
        assert _ask(connection, "/empty") == (200, b"", "")
        assert [_ask(connection, path)[0] for path in ("/none", "/data", "/data/../../etc/passwd", "/%2e%2e/x")] == [
            404
        ] * 4
        said = json.loads(_ask(connection, "/-/stats")[1])
        connection.close()
        assert said["requests"] == server.stats().requests == 11
        assert said["connections"] == 1
        assert said["bytes_sent"] == len(DATA) + 5 + 10 + 10, "of bodies that were right"


def test_a_server_before_another_one_lies_only_when_told_to(folder: Path) -> None:
    with FaultServer(folder) as origin, FaultServer.before(origin.url) as server:
        assert _read(server.url) == DATA
        server.play(Behaviour("WRONG_BYTES"))
        lie = _read(server.url)
        assert [at for at in range(len(DATA)) if lie[at] != DATA[at]] == [len(DATA) // 2]
        server.play()
        assert _read(server.url) == DATA


@pytest.mark.parametrize(
    ("verdict", "variant"), [(verdict, variant) for verdict, all_ in VARIANTS.items() for variant in all_]
)
def test_every_behaviour_shows_as_its_verdict_or_as_other_bytes(folder: Path, verdict: str, variant: str) -> None:
    behaviour = Behaviour(verdict, variant, at=70_000 if verdict == "SLOW" else None, location="file:///etc/passwd")
    with FaultServer(folder, behaviour) as server:
        if verdict == "SLOW" and variant.startswith("drip"):  # only an engine's deadline ends these: T4
            connection = socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0))
            with connection:
                connection.sendall(b"GET /data/x HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.settimeout(5)
                assert connection.recv(12).startswith(b"HTTP/1.1 200")
            return
        try:
            data = _read(server.url)
        except PeerError as error:
            # a stall is called so by the engine's clock; the socket's own timeout only says that nothing came
            assert error.verdict == ("UNREACHABLE" if verdict == "SLOW" else verdict), error
        else:
            assert verdict in ("OK", "WRONG_BYTES", "TRUNCATED")
            assert (data == DATA) == (verdict == "OK" or variant == "wrong-range")


def test_paths_shares_and_numbers_choose_what_is_played(folder: Path) -> None:
    with FaultServer(folder) as server:
        port = urlsplit(server.url).netloc

        def statuses(path: str, count: int) -> list[int]:
            connection = http.client.HTTPConnection(port)
            found = [_ask(connection, path)[0] for _ in range(count)]
            connection.close()
            return found

        server.play(Behaviour("MISSING", paths="data/*", first=2, last=4))
        assert statuses("/data/y", 6) == [200, 200, 404, 404, 200, 200]
        assert statuses("/empty", 2) == [200, 200]
        server.play(Behaviour("WITHHELD", share=0.5, seed=4))
        some = statuses("/data/y", 200)
        server.play(Behaviour("WITHHELD", share=0.5, seed=4))
        assert statuses("/data/y", 200) == some, "seeded: the same again"
        assert 60 < some.count(410) < 140


def test_a_rate_is_over_all_connections_and_a_delay_before_each_answer(folder: Path) -> None:
    with FaultServer(folder, rate_bytes_s=500_000, delay_s=0.05) as server:
        started = time.monotonic()
        assert _read(server.url, TransferLimits()) == DATA
        assert time.monotonic() - started >= 0.2


def test_as_a_process(folder: Path) -> None:
    command = [sys.executable, "-m", "holdfast.demo.faults", str(folder)]
    wrong = subprocess.run([*command, "--verdict", "OK", "--variant", "x"], capture_output=True, text=True)
    assert (wrong.returncode, "has the variants" in wrong.stderr) == (2, True)
    options = ["--rate", "50MB/s", "--delay", "1ms", "--verdict", "MISSING", "--first", "1"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert _read(url) == DATA
        with pytest.raises(HoldfastError):
            _read(url)
        process.terminate()
        assert process.wait(20) == 0


def test_a_server_that_begins_to_refuse_ends_what_is_under_way_and_says_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests on kept connections, one after the other, while the server is told to go and to come back."""
    with FaultServer(folder) as server:
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    _read(server.url)
                except PeerError:
                    continue

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for _ in range(20):
            server.play(Behaviour("UNREACHABLE", "refused"))
            server.play()
        stop.set()
        for reader in readers:
            reader.join()
        assert _read(server.url) == DATA
    assert caplog.records == []
