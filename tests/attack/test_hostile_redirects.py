"""A source redirects to what breaks a client. It is that source's failure and nobody else's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast import StreamingDataset
from holdfast.storage.errors import UnavailableError
from holdfast.storage.get import get
from support.mirror_server import MirrorServer, Reply
from support.published import publish_mirror
from support.samples import collect
from support.trees import LEAF, mirror_folder

LOCATIONS = [
    "http://[::1", "http://[1::2::3]/", "http://a:99999/", "http://a:x/", "//[", "http://a b/", "http://a\tb/",
    "http://a..b/", "http://" + "a" * 300 + "/", "http://bob:hunter2@127.0.0.1/", "ftp://bob:hunter2@a/",
    "http://\xe9/", "http:///x", "\\\\a\\b", "http://a\\@b/", "http://127.0.0.1:0/",
]  # fmt: skip
FILES = {"data/a.bin": random.Random(7).randbytes(5 * LEAF), "b.txt": b"b"}


def _to(location: str, path: str, reply: Reply) -> Reply | None:
    return None if "bafkqaaa" in path else Reply(302, {"Location": location}, b"")


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_copy_is_complete_beside_a_source_that_redirects_to_nonsense(tmp_path: Path, location: str) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    bad = MirrorServer(tmp_path / "origin", lambda path, reply: _to(location, path, reply))
    with bad, MirrorServer(tmp_path / "origin") as good:
        result = get(str(root), tmp_path / "copy", sources=[bad.url, good.url], deadline_s=10)
        assert bad.requests
    assert {name: (tmp_path / "copy" / name).read_bytes() for name in FILES} == FILES
    assert result.sources[1].state == "good"


@pytest.mark.parametrize("location", LOCATIONS)
def test_alone_it_ends_in_a_sentence_that_prints_no_password(tmp_path: Path, location: str) -> None:
    root = mirror_folder(tmp_path / "origin", FILES)
    with MirrorServer(tmp_path / "origin", lambda path, reply: _to(location, path, reply)) as bad:
        with pytest.raises(UnavailableError, match=r"UNREACHABLE|FORBIDDEN") as caught:
            get(str(root), tmp_path / "copy", sources=[bad.url], deadline_s=0.3)
    assert "hunter2" not in str(caught.value)
    assert "bob" not in str(caught.value)
    assert "bug" not in str(caught.value)


@pytest.mark.parametrize("location", LOCATIONS[:3])
def test_training_goes_on_beside_it(tmp_path: Path, location: str) -> None:
    (tmp_path / "src").mkdir()
    for n in range(40):
        (tmp_path / f"src/{n}.txt").write_text(f"text {n} " * 200)
    uri = publish_mirror(tmp_path, tmp_path / "src", leaf_size=LEAF, shard_size=2 * LEAF)
    bad = MirrorServer(tmp_path / "mirror", lambda path, reply: _to(location, path, reply))
    with bad, MirrorServer(tmp_path / "mirror") as good:
        dataset = StreamingDataset(uri, sources=[bad.url, good.url], cache=tmp_path / "cache", deadline_s=10)
        assert len(collect(dataset)) == 40
        assert bad.requests
