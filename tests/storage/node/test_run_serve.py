"""`run_serve`: what the user may get wrong is one sentence, before anything is created."""

from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.serve import crowd_limits, run_serve
from holdfast.configs.errors import ConfigError
from holdfast.configs.settings import Settings
from holdfast.storage.node.crowd import CrowdLimits


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"listen": "4301"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:99999"}, "HOST:PORT"),
        ({"listen": "::1:80"}, "brackets"),
        ({"listen": "192.0.2.1:0"}, "cannot be listened on"),
        ({"allow_net": ["10.0.0.0/99"]}, "--allow-net"),
        ({"max_bytes": "many"}, "size"),
        ({"roster": Path("absent.toml")}, "absent.toml"),
        ({"token_file": Path("absent.token")}, "absent.token"),
        ({"token_file": Path("empty.token")}, "one line"),
        ({"token_file": Path("two.token")}, "one line"),
    ],
)
def test_wrong_input_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("empty.token").write_text("\n")
    Path("two.token").write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match=match):
        run_serve(tmp_path / "repo", **({"listen": "127.0.0.1:0"} | options))
    assert "listen" in options or not (tmp_path / "repo").exists()


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("data")
    with pytest.raises(ConfigError, match="not a repository"):
        run_serve(tmp_path, "127.0.0.1:0")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_limits_of_a_peer_are_those_of_the_settings() -> None:
    assert crowd_limits(Settings.defaults().serve) == CrowdLimits()
    text = (
        "[serve]\nmax_requests = 1\nqueue = '2s'\nmax_requests_per_client = 3\nmax_connections = 4\n"
        "max_connections_per_client = 5\nrequest_head = '6s'\nidle_connection = '7s'\nmin_rate = '8KiB'\n"
        "trusted_proxies = ['10.0.0.0/8', '::1/128']\n"
    )
    limits = crowd_limits(Settings.parse(text, "config.toml").serve)
    assert limits == CrowdLimits(1, 3, 4, 5, 2.0, 6.0, 7.0, 8192, (ip_network("10.0.0.0/8"), ip_network("::1/128")))
    assert all(getattr(limits, field.name) != field.default for field in fields(CrowdLimits))


@pytest.mark.parametrize("value", ["'10.0.0.1'", "['nonsense']", "['10.0.0.1/8']", "[1]"])
def test_a_proxy_that_is_no_network_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match="trusted_proxies"):
        Settings.parse(f"[serve]\ntrusted_proxies = {value}", "config.toml")
