"""`VerifiedFile`: only hashed leaves are ever believed, whoever wrote the files, however their writer ended."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from holdfast.storage.blocks.verified_file import VerifiedFile
from holdfast.storage.dag.layout import FileLayout
from holdfast.storage.errors import HashMismatchError, StoreError
from support.trees import LEAF, file_dag

DATA = random.Random(30).randbytes(5 * LEAF + 9)
LAYOUT = file_dag(DATA)[0]
LEAVES = range(LAYOUT.leaves)


def leaf(number: int) -> bytes:
    return DATA[number * LEAF : (number + 1) * LEAF]


def opened(folder: Path, lineage: int = 1, layout: FileLayout = LAYOUT, *, distrust: bool = False) -> VerifiedFile:
    return VerifiedFile(folder / "f", folder / "f.marks", layout).open(lineage, distrust=distrust)


def fill(folder: Path, lineage: int = 1, *, seal: bool = True, leaves: range = LEAVES) -> None:
    with opened(folder, lineage) as file:
        for number in leaves:
            file.write(number, leaf(number))
        if seal:
            file.seal()


def flip(path: Path, at: int) -> None:
    """Change one bit in place, until the clock of the file system has moved on."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ 1
        while path.stat().st_mtime_ns == before:
            os.pwrite(file.fileno(), bytes([byte]), at)


def run(script: str, *args: object, **options: object) -> subprocess.Popen[str]:
    code = "import sys\nfrom pathlib import Path\n" + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, **options,  # type: ignore[arg-type]
    )  # fmt: skip


OPEN = """
from holdfast.storage.blocks.verified_file import VerifiedFile
from support.trees import LEAF, file_dag
import random
DATA = random.Random(30).randbytes(5 * LEAF + 9)
LAYOUT = file_dag(DATA)[0]
folder = Path(sys.argv[1])
file = VerifiedFile(folder / "f", folder / "f.marks", LAYOUT).open(int(sys.argv[2]))
"""


def test_wrong_bytes_never_reach_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        for wrong in (leaf(1), leaf(0)[:-1], leaf(0) + b"x", b"", bytes(LEAF)):
            with pytest.raises(HashMismatchError, match="leaf 0"):
                file.write(0, wrong)
        assert not file.has(0)
    assert (tmp_path / "f").read_bytes() == bytes(len(DATA))


def test_leaves_lie_at_their_place_in_any_order(tmp_path: Path) -> None:
    order = random.Random(1).sample(list(LEAVES), len(LEAVES))
    with opened(tmp_path) as file:
        for count, number in enumerate(order):
            assert not file.complete
            assert file.missing(LEAVES) == sorted(set(LEAVES) - set(order[:count]))
            file.write(number, memoryview(leaf(number)))
            file.write(number, leaf(number))  # idempotent
            assert bytes(file.view(*LAYOUT.leaf_range(number))) == leaf(number)
        assert file.complete
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("data", [b"", b"x", bytes(LEAF)])
def test_small_and_empty_files(tmp_path: Path, data: bytes) -> None:
    layout = file_dag(data)[0]
    with opened(tmp_path, layout=layout) as file:
        file.write(0, data)
        assert file.complete
        file.seal()
    with opened(tmp_path, 2, layout) as file:
        assert file.has(0)
        assert bytes(file.view(0, len(data))) == data


def test_an_unsealed_file_of_another_run_is_hashed_again_and_a_rotten_leaf_dropped(tmp_path: Path) -> None:
    fill(tmp_path, seal=False)
    flip(tmp_path / "f", 2 * LEAF + 5)
    with opened(tmp_path, 2) as file:
        assert not file.complete, "nothing is believed before it was hashed"
        assert file.missing(LEAVES) == [2]
        file.write(2, leaf(2))
        assert file.complete
    assert (tmp_path / "f").read_bytes() == DATA


def test_a_sealed_file_whose_stamp_matches_is_trusted(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path, 2) as file:
        assert file.complete, "without a read"


def test_a_sealed_file_that_changed_is_hashed_again(tmp_path: Path) -> None:
    fill(tmp_path)
    flip(tmp_path / "f", 3 * LEAF)
    with opened(tmp_path, 2) as file:
        assert not file.complete
        assert file.missing(LEAVES) == [3]
    with opened(tmp_path, 3) as file:
        assert file.missing(LEAVES) == [3], "and the next run does not believe it either"


def test_a_sealed_file_with_its_time_put_back_is_hashed_again(tmp_path: Path) -> None:
    fill(tmp_path)
    about = (tmp_path / "f").stat()
    flip(tmp_path / "f", 0)
    os.utime(tmp_path / "f", ns=(about.st_atime_ns, about.st_mtime_ns))
    with opened(tmp_path, 2) as file:
        assert file.missing(LEAVES) == [0], "ctime cannot be put back"


def test_a_sealed_file_replaced_by_another_is_hashed_again(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "other").write_bytes(bytes(len(DATA)))
    (tmp_path / "other").replace(tmp_path / "f")
    with opened(tmp_path, 2) as file:
        assert file.missing(LEAVES) == list(LEAVES)


def test_distrust_hashes_a_sealed_file_again(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path, 2, distrust=True) as file:
        assert not file.complete
        assert file.missing(LEAVES) == []
        assert file.complete
        file.seal()
    with opened(tmp_path, 3) as file:
        assert file.complete


def test_an_incomplete_file_cannot_be_sealed(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        file.write(0, leaf(0))
        with pytest.raises(RuntimeError, match="not complete"):
            file.seal()


@pytest.mark.parametrize("lineage", [1, 2])
@pytest.mark.parametrize("how", ["cut", "gone", "longer"])
def test_a_data_file_that_lost_its_bytes_is_not_believed_even_by_its_own_run(
    tmp_path: Path, how: str, lineage: int
) -> None:
    fill(tmp_path)
    if how == "gone":
        (tmp_path / "f").unlink()
    else:
        os.truncate(tmp_path / "f", LEAF if how == "cut" else len(DATA) + 1)
    with opened(tmp_path, lineage) as file:
        assert file.missing(LEAVES) == {"cut": list(LEAVES)[1:], "gone": list(LEAVES), "longer": []}[how]
        for number in LEAVES:
            file.write(number, leaf(number))
    assert (tmp_path / "f").read_bytes() == DATA


MARKS = {
    "gone": lambda marks: None,
    "empty": lambda marks: b"",
    "half": lambda marks: marks[: len(marks) // 2],
    "longer": lambda marks: marks + b"\1",
    "noise": lambda marks: random.Random(4).randbytes(len(marks)),
    "zeros": lambda marks: bytes(len(marks)),
    "another magic": lambda marks: b"hf-mark9" + marks[8:],
    "all ones": lambda marks: b"\1" * len(marks),
    "unknown values": lambda marks: marks[: -len(LEAVES)] + bytes(range(3, 3 + len(LEAVES))),
}


@pytest.mark.parametrize("damage", MARKS)
@pytest.mark.parametrize("lineage", [1, 2])
def test_damaged_marks_cost_work_and_never_a_wrong_byte(tmp_path: Path, damage: str, lineage: int) -> None:
    fill(tmp_path, seal=False, leaves=range(3))
    flip(tmp_path / "f", 1)
    marks = MARKS[damage]((tmp_path / "f.marks").read_bytes())
    (tmp_path / "f.marks").unlink()
    if marks is not None:
        (tmp_path / "f.marks").write_bytes(marks)
    with opened(tmp_path, lineage) as file:
        for number in file.missing(LEAVES):
            file.write(number, leaf(number))
        assert file.complete
    assert (tmp_path / "f").read_bytes() == DATA


def test_marks_that_claim_what_is_not_there_are_not_believed(tmp_path: Path) -> None:
    fill(tmp_path, seal=False, leaves=range(1))
    marks = bytearray((tmp_path / "f.marks").read_bytes())
    marks[-len(LEAVES) :] = b"\1" * len(LEAVES)
    (tmp_path / "f.marks").write_bytes(marks)
    with opened(tmp_path, 2) as file:
        assert file.missing(LEAVES) == list(LEAVES)[1:]


def test_marks_of_another_leaf_size_are_not_believed(tmp_path: Path) -> None:
    fill(tmp_path)
    other = file_dag(DATA, LEAF + 1)[0]
    assert other.leaves == LAYOUT.leaves
    with opened(tmp_path, 1, other) as file:
        assert file.missing(LEAVES) == list(LEAVES)


def test_a_claim_excludes_others_until_it_is_given_back(tmp_path: Path) -> None:
    with opened(tmp_path) as one, opened(tmp_path) as two:
        assert one.claim(3)
        assert one.claim(3), "again, by the same"
        assert not two.claim(3)
        assert two.claim(2)
        assert not one.claim(2)
        one.release(3)
        assert two.claim(3)
        two.close()
        assert one.claim(2), "closing gives back what was claimed"


def test_claims_of_a_killed_process_are_free(tmp_path: Path) -> None:
    holder = run(OPEN + "print(file.claim(1), flush=True)\nsys.stdin.read()", tmp_path, 1)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        with opened(tmp_path) as file:
            assert not file.claim(1)
            assert file.claim(0)
            holder.kill()
            holder.wait()
            assert file.claim(1)
    finally:
        holder.kill()
        holder.communicate()


def test_what_a_killed_process_wrote_is_hashed_and_used(tmp_path: Path) -> None:
    script = """
    for number in (0, 4):
        file.write(number, DATA[number * LEAF : (number + 1) * LEAF])
    print("written", flush=True)
    sys.stdin.read()
    """
    writer = run(OPEN + textwrap.dedent(script), tmp_path, 1)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == "written"
    finally:
        writer.kill()
        writer.communicate()
    with opened(tmp_path, 2) as file:
        assert file.missing(LEAVES) == [1, 2, 3, 5]


def test_two_processes_fill_one_file(tmp_path: Path) -> None:
    script = """
    mine = 0
    for number in range(LAYOUT.leaves):
        if file.has(number) or not file.claim(number):
            continue
        if not file.has(number):
            file.write(number, DATA[number * LEAF : (number + 1) * LEAF])
            mine += 1
        file.release(number)
    print(mine)
    """
    both = [run(OPEN + textwrap.dedent(script), tmp_path, 7) for _ in range(2)]
    written = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], written
    assert sum(int(out) for out, _ in written) == len(LEAVES), "each leaf was written by one of them"
    assert (tmp_path / "f").read_bytes() == DATA
    with opened(tmp_path, 7) as file:
        assert file.complete


def test_a_folder_that_cannot_be_used_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be used"):
        opened(tmp_path / "file")


FULL = """
from holdfast.storage.errors import DiskFullError
from holdfast.storage.blocks.verified_file import VerifiedFile
from support.trees import LEAF, file_dag
import random
DATA = random.Random(31).randbytes(64 * LEAF)
folder = Path(sys.argv[1])
with (folder / "ballast").open("wb", buffering=0) as ballast:
    try:
        while ballast.tell() < int(sys.argv[2]):
            ballast.write(bytes(4096))
    except OSError:
        pass
layout = file_dag(DATA)[0]
here = []
try:
    file = VerifiedFile(folder / "f", folder / "f.marks", layout).open(1)
    for leaf in range(layout.leaves):
        file.write(leaf, DATA[leaf * LEAF : (leaf + 1) * LEAF])
        here.append(leaf)
except DiskFullError as error:
    print("full", len(here), error.message)
if here:
    (folder / "ballast").unlink()
    file.close()
    file = VerifiedFile(folder / "f", folder / "f.marks", layout).open(2)
    assert [leaf for leaf in range(layout.leaves) if file.has(leaf)] == here
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """What to put before a command, so that `tmp_path/disk` is a file system of 512 KiB there."""
    (tmp_path / "disk").mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
               f'mount -t tmpfs -o size={1 << 19} holdfast "{tmp_path}/disk" && exec "$@"', "sh"]  # fmt: skip
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs in a namespace of their own")
    return command


@pytest.mark.parametrize("ballast", [0, 1 << 18, (1 << 19) - 4096, 1 << 20])
def test_a_full_disk_is_a_typed_error_and_what_was_written_before_stays(
    tmp_path: Path, small_disk: list[str], ballast: int
) -> None:
    code = "import sys\nfrom pathlib import Path\n" + FULL
    done = subprocess.run(
        [*small_disk, sys.executable, "-c", code, str(tmp_path / "disk"), str(ballast)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.startswith("full "), done.stdout
    assert "no space left" in done.stdout
