"""`audit` as a person types it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cli.conftest import Dataset, Done

from support.mirror_server import MirrorServer, Reply

Command = Callable[..., Done]


def test_an_honest_provider_passes_and_a_liar_fails(
    command: Command, dataset: Dataset, server: MirrorServer, tmp_path: Path
) -> None:
    good = command("audit", dataset.uri, "--from", server.url, "--samples", "12", "--seed", "beef", "--json")
    assert good.code == 0, good
    found = good.json()
    assert (found["ok"], found["seed"], found["root"], found["samples"]) == (True, "beef", dataset.root, 12)
    assert found["providers"][0]["verdict"] == "OK"

    def lie(path: str, reply: Reply) -> Reply:
        reply.body = bytes(len(reply.body)) if path.startswith("data/") else reply.body
        return reply

    with MirrorServer(dataset.mirror, script=lie) as liar:
        bad = command("audit", dataset.uri, "--from", server.url, "--from", liar.url, "--samples", "12", "--json")
        assert bad.code == 1, bad
        by_url = {provider["url"]: provider for provider in bad.json()["providers"]}
        assert by_url[server.url]["ok"] is True
        assert by_url[liar.url]["verdict"] == "WRONG_BYTES"
        words = command("audit", dataset.uri, "--from", liar.url, "--from", server.url, "--samples", "12")
        assert words.code == 1
        assert "WRONG_BYTES" in words.out
        assert "loss ≤" in words.out
        assert "at 99 %" in words.out


def test_mistakes_are_sentences(command: Command, dataset: Dataset, server: MirrorServer) -> None:
    command("audit", dataset.uri, "--from", server.url, "--seed", "oops", "--json").failed(2, "config", "not hex")
    command("audit", dataset.uri, "--json").failed(2, "config", "no source is named")
