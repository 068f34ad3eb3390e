"""`get` from plain static hosts: complete, verified, and the copy serves in its turn."""

import random
from pathlib import Path

from holdfast.storage.fetch.mirror_folder import MirrorFolder
from holdfast.storage.get import get
from support.mirror_server import MirrorServer, Reply
from support.trees import mirror_folder


def _files(seed: int = 1) -> dict[str, bytes]:
    rng = random.Random(seed)
    return {
        "data/a.bin": rng.randbytes(300_000),
        "data/b c.bin": rng.randbytes(16384),
        "data/empty": b"",
        "deep/er/x": rng.randbytes(1_500_000),
        "README.md": b"hello\n",
    }


def _content(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_copy_is_equal_and_is_a_mirror_itself(tmp_path: Path) -> None:
    files = _files()
    root = mirror_folder(tmp_path / "origin", files)
    with MirrorServer(tmp_path / "origin") as origin:
        result = get(str(root), tmp_path / "copy", sources=[origin.url])
    assert _content(tmp_path / "copy") == _content(tmp_path / "origin")
    assert result.bytes == sum(map(len, files.values()))
    assert result.sources[0].wrong == 0
    with MirrorServer(tmp_path / "copy") as copy:
        get(str(root), tmp_path / "again", sources=[copy.url])
    assert _content(tmp_path / "again") == _content(tmp_path / "origin")


def test_two_mirrors_one_of_which_flips_bytes(tmp_path: Path) -> None:
    files = _files()
    root = mirror_folder(tmp_path / "origin", files)

    def flip(path: str, reply: Reply) -> Reply | None:
        if path.startswith("deep") and reply.body:
            reply.body = reply.body[:-1] + bytes([reply.body[-1] ^ 1])
        return reply

    with MirrorServer(tmp_path / "origin") as good, MirrorServer(tmp_path / "origin", flip) as bad:
        result = get(str(root), tmp_path / "copy", sources=[bad.url, good.url])
    assert _content(tmp_path / "copy") == _content(tmp_path / "origin")
    stats = {source.url: source for source in result.sources}
    assert stats[good.url].wrong == 0
    assert (stats[bad.url].state == "demoted") == (stats[bad.url].wrong > 0)


def test_what_a_kill_left_half_written_goes_and_what_can_be_gone_on_with_stays(tmp_path: Path) -> None:
    partial = tmp_path / "copy/.holdfast/partial"
    partial.mkdir(parents=True)
    for name in (".f.bin.1234abcd.tmp", "renamed.marks", "half", "half.marks"):
        (partial / name).write_bytes(b"x")
    first, second = MirrorFolder(tmp_path / "copy").open_folder(), MirrorFolder(tmp_path / "copy").open_folder()
    first.close()
    assert len(list(partial.iterdir())) == 5, "another one fills this folder: nothing of it is ours to remove"
    second.close()
    second.close()
    assert sorted(path.name for path in partial.iterdir()) == ["half", "half.marks"]
