"""Make the vectors of this folder again: `python generate.py IPFS HELIA WORK`, see README.md.

IPFS: the Kubo binary; HELIA: a folder in which `npm install` ran with helia.package.json; WORK: an empty folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SMALL = "--chunker=size-1024 --max-file-links=4"
# name → (tree, flags of `ipfs add`, settings of `ipfs config --json`)
CASES: dict[str, tuple[str, str, dict[str, object]]] = {
    "default": ("src", "", {}),
    "cidv0": ("src", f"--cid-version=0 {SMALL}", {}),
    "cidv1-nodes": ("src", f"--cid-version=1 --raw-leaves=false {SMALL}", {}),
    "raw-small": ("src", f"--cid-version=1 {SMALL}", {}),
    "raw-4096": ("src", "--cid-version=1 --chunker=size-4096", {}),
    "rabin": ("src", "--cid-version=1 --chunker=rabin-64-256-1024", {}),
    "rabin-v0": ("src", "--cid-version=0 --chunker=rabin-64-256-1024 --max-file-links=6", {}),
    "trickle": ("src", "--cid-version=1 --trickle --chunker=size-256 --max-file-links=3", {}),
    "trickle-v0": ("src", "--cid-version=0 --trickle --chunker=size-256 --max-file-links=3", {}),
    "blake3": ("src", f"--hash=blake3 {SMALL}", {}),
    "blake3-nodes": ("src", f"--hash=blake3 --raw-leaves=false {SMALL}", {}),
    "sha2-512": ("src", f"--hash=sha2-512 {SMALL}", {}),
    "inline": ("src", "--cid-version=1 --inline --inline-limit=64 --chunker=size-1024", {}),
    "inline-leaves": ("src", "--cid-version=1 --inline --inline-limit=64 --chunker=size-60", {}),
    "mode-mtime": ("src", f"--cid-version=1 --preserve-mode --preserve-mtime {SMALL}", {}),
    "mode-mtime-v0": ("src", "--cid-version=0 --preserve-mode --preserve-mtime", {}),
    "links": ("links", "--cid-version=1", {}),
    "hamt": ("many", "--cid-version=1", {"Import.UnixFSHAMTDirectorySizeThreshold": "1B"}),
    "hamt-16": (
        "many",
        "--cid-version=1",
        {"Import.UnixFSHAMTDirectorySizeThreshold": "1B", "Import.UnixFSHAMTDirectoryMaxFanout": 16},
    ),
}
PROFILES = ("legacy-cid-v0", "unixfs-v0-2015", "unixfs-v1-2025")


def noise(seed: str, size: int) -> bytes:
    return b"".join(hashlib.sha256(f"{seed}{n}".encode()).digest() for n in range(size // 32 + 1))[:size]


def write_trees(work: Path) -> None:
    src, many, links = work / "src", work / "many", work / "links"
    for folder in (src / "sub", many, links):
        folder.mkdir(parents=True)
    (src / "a.bin").write_bytes(noise("a", 9000))
    (src / "zeros.bin").write_bytes(bytes(5000))
    (src / "empty").write_bytes(b"")
    (src / "hello.txt").write_bytes(b"hello world\n")
    (src / "sub/b.bin").write_bytes(noise("b", 1025))
    for number in range(40):
        (many / f"file-{number:02}.txt").write_bytes(b"%d\n" % number)
    (links / "real.txt").write_bytes(b"real\n")
    (links / "inside").symlink_to("real.txt")
    (links / "outside").symlink_to("../../etc/passwd")
    for path in (src / "a.bin", src / "sub", src):
        path.chmod(0o750)
        os.utime(path, ns=(10**9, 1_700_000_000_123_456_789))


def contents(tree: Path) -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    files: dict[str, dict[str, object]] = {}
    links = {}
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_symlink():
            links[name] = str(path.readlink())
        elif path.is_file():
            data = path.read_bytes()
            files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return files, links


def kubo(ipfs: str, work: Path) -> list[dict[str, object]]:
    made = []
    cases = dict(CASES)
    for profile in PROFILES:
        cases[profile] = ("src", "", {"profile": profile})
    for name, (tree, flags, settings) in cases.items():
        env = {**os.environ, "IPFS_PATH": str(work / f"repo-{name}"), "IPFS_TELEMETRY": "off"}

        def run(*words: str, env: dict[str, str] = env) -> bytes:
            return subprocess.run([ipfs, *words], env=env, cwd=work, check=True, stdout=subprocess.PIPE).stdout

        run("init", "--profile=test")
        before = []
        for key, value in settings.items():
            words = ["config", "profile", "apply", str(value)] if key == "profile" else []
            words = words or ["config", "--json", key, json.dumps(value)]
            run(*words)
            before.append(f"ipfs {' '.join(words)}; ")
        command = ["add", "-r", "-Q", "--offline", "--pin=false", *flags.split(), tree]
        root = run(*command).decode().strip()
        (HERE / f"kubo-{name}.car").write_bytes(run("dag", "export", "--offline", "--progress=false", root))
        about = {"program": "kubo 0.43.0", "command": "".join(before) + f"ipfs {' '.join(command)}"}
        made.append({"car": f"kubo-{name}.car", **about, "root": root, "tree": tree})
    return made


def mfs(ipfs: str, work: Path) -> dict[str, object]:
    """A file that was written in pieces, out of order and over itself."""
    env = {**os.environ, "IPFS_PATH": str(work / "repo-mfs"), "IPFS_TELEMETRY": "off"}

    def run(*words: str, data: bytes = b"") -> bytes:
        return subprocess.run([ipfs, *words], env=env, check=True, input=data, stdout=subprocess.PIPE).stdout

    run("init", "--profile=test")
    run("config", "--json", "Import.UnixFSChunker", '"size-1024"')
    (work / "mfs").mkdir()
    data = bytearray(noise("m", 6000))
    run("files", "mkdir", "/mfs")
    run("files", "write", "--offline", "--create", "/mfs/m.bin", data=bytes(data))
    for offset, piece in ((5990, noise("n", 3000)), (100, b"over"), (2000, noise("o", 1500))):
        run("files", "write", "--offline", f"--offset={offset}", "/mfs/m.bin", data=piece)
        data[offset : offset + len(piece)] = piece
    (work / "mfs/m.bin").write_bytes(data)
    root = run("files", "stat", "--hash", "/mfs").decode().strip()
    (HERE / "kubo-mfs.car").write_bytes(run("dag", "export", "--offline", "--progress=false", root))
    command = "ipfs files write, four times, with --offset"
    return {"car": "kubo-mfs.car", "program": "kubo 0.43.0", "command": command, "root": root, "tree": "mfs"}


def main(ipfs: str, helia: str, work: Path) -> None:
    write_trees(work)
    made = kubo(ipfs, work)
    made.append(mfs(ipfs, work))
    shutil.copy(HERE / "helia.mjs", helia)
    lines = subprocess.run(
        ["node", "helia.mjs", str(work / "src"), str(HERE)], cwd=helia, check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    made += [json.loads(line) for line in lines.splitlines()]
    trees = {}
    for name in ("src", "many", "links", "mfs"):
        files, links = contents(work / name)
        trees[name] = {"files": files, "links": links}
    document = json.dumps({"trees": trees, "vectors": made}, indent=1)
    (HERE / "vectors.json").write_text(document + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
