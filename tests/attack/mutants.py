"""`make mutants`: take one check out of a copy of the code at a time; the tests that are there for it must fail.

A mutant is (file, what is there, what is put in its place, the tests that must notice). What is not found in the file
any more is an error: then this list has to follow the code. Options: words that a mutant's name must contain.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("configs", "storage", "pipeline", "loaders", "holdfast", "tests")
TIMEOUT_S = 240


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    before: str
    after: str
    tests: str


MUTANTS = [
    Mutant(
        "a promise counts unread", "pipeline/place/placing.py", "        if problem:\n", "        if False:\n",
        "tests/pipeline/place/test_place.py",
    ),
    Mutant(
        "of many promises, each counts unread", "pipeline/place/read_back_many.py",
        "    if problem:\n", "    if False:\n", "tests/pipeline/place/test_many.py",
    ),
    Mutant(
        "a cut needs no bytes behind it", "pipeline/pack/cuts.py", "        lowest = settled >= 0 and not window",
        "        lowest = not window", "tests/pipeline/test_cuts.py",
    ),
    Mutant(
        "a shard is known whatever its columns became", "pipeline/pack/packer.py", "rows.shape(),", "None,",
        "tests/pipeline/test_edits.py",
    ),
    Mutant(
        "a list of pins may end early", "storage/pins/pinning_service.py",
        "                whole = len(found) >= total", "                whole = len(page) < _PAGE or not new",
        "tests/storage/pins/test_pinning_service.py",
    ),
    Mutant(
        "sources that nobody named come first", "storage/fetch/planner.py",
        "holders = [score for score in able if score.trusted] or able or holders", "holders = able or holders",
        "tests/storage/fetch/test_planner.py",
    ),
    Mutant(
        "addresses of routers are dialled unseen", "storage/sources/found.py",
        "endpoint = Endpoint(url, guard=self._guard, redirect_guard=self._guard)", "endpoint = Endpoint(url)",
        "tests/storage/sources/test_found.py",
    ),
    Mutant(
        "records of names are not signed", "storage/names/record.py",
        "if not is_signed(name, _SIGNED + signed, signature):", "if False:", "tests/storage/names",
    ),
    Mutant(
        "old records of names count", "storage/names/choice.py",
        "if known is not None and record.sequence < known.sequence:", "if False:",
        "tests/storage/names/test_choice.py",
    ),
    Mutant(
        "ended records of names count", "storage/names/choice.py",
        "if now_ns > record.validity_ns + SKEW_NS:", "if False:", "tests/storage/names/test_choice.py",
    ),
    Mutant(
        "records from the future count", "storage/names/choice.py",
        "if published is not None and published > now_ns + SKEW_NS:", "if False:",
        "tests/storage/names/test_choice.py",
    ),
    Mutant(
        "V1 fields may say something else", "storage/names/record.py",
        "if found.get(number, absent) != expected:", "if False:", "tests/storage/names/test_record.py",
    ),
    Mutant(
        "leaves are not hashed (on disk)", "storage/blocks/verified_file.py",
        "if len(data) != end - start or hashlib.sha256(data).digest() != self.layout.leaf_digest(leaf):",
        "if len(data) != end - start:", "tests/attack/test_t1_wrong_bytes.py",
    ),
    Mutant(
        "leaves are not hashed (in memory)", "storage/blocks/memory_file.py",
        "if len(data) != end - start or hashlib.sha256(data).digest() != self.layout.leaf_digest(leaf):",
        "if len(data) != end - start:", "tests/attack/test_t1_wrong_bytes.py -k small",
    ),
    Mutant(
        "nodes are not hashed", "storage/fetch/engine.py", "if not job.cid.matches(data):", "if False:",
        "tests/attack/test_t1_wrong_bytes.py -k node",
    ),
    Mutant(
        "a warm cache is believed", "storage/blocks/verified_file.py",
        "good = hashlib.sha256(data).digest() == self.layout.leaf_digest(leaf)", "good = True",
        "tests/attack/test_t16_rotten_cache.py",
    ),
    Mutant(
        "a cut body is whole", "storage/sources/answer.py",
        'raise TruncatedError(f"the answer ended {len(view) - filled} bytes early")', "return",
        "tests/attack/test_t2_truncated.py tests/storage/sources/test_http.py",
    ),
    Mutant(
        "no limit on a body", "storage/sources/answer.py",
        "while count := self._fill(buffer[: limit + 1 - len(out)]):\n            out += buffer[:count]\n"
        "            if len(out) > limit:",
        "while count := self._fill(buffer):\n            out += buffer[:count]\n            if False:",
        "tests/attack/test_t3_oversized.py -k endless",
    ),
    Mutant(
        "no minimum rate", "storage/fetch/planner.py", "if rate < limits.min_rate_bytes_s:", "if False:",
        "tests/storage/fetch/test_planner.py tests/attack/test_t4_slow.py",
    ),
    Mutant(
        "no deadline for a leaf", "storage/fetch/planner.py", "if now - alive > deadline or hard:", "if False:",
        "tests/attack/test_t4_slow.py -k alone",
    ),
    Mutant(
        "no end for a question about a lie", "storage/fetch/lies.py", "    timer.start()\n", "",
        "tests/attack/test_t4_slow.py -k lies_about",
    ),
    Mutant(
        "no limit on the parts of a file", "storage/dag/files.py", "if self.count > self.max_leaves:", "if False:",
        "tests/storage/dag/test_files.py",
    ),
    Mutant(
        "directories over and over", "storage/fetch/node_tree.py",
        "visits > _VISITS + _VISITS_PER_ENTRY * known", "False", "tests/attack/test_t5_malformed.py -k directories",
    ),
    Mutant(
        "names are not checked", "storage/fetch/node_tree.py",
        "        return check_path(child)", "        return child", "tests/attack/test_t7_hostile_names.py",
    ),
    Mutant(
        "redirects are not guarded", "storage/sources/netguard.py", "if not self.guarded:", "if True:",
        "tests/attack/test_t8_forbidden_addresses.py -k redirect",
    ),
    Mutant(
        "a second look-up", "storage/sources/dial.py", "sock.connect(where)", "sock.connect((host, port))",
        "tests/attack/test_t8_forbidden_addresses.py -k changes_its_address",
    ),
    Mutant(
        "a full disk ends training", "loaders/spare.py",
        "            except DiskFullError:\n                self._spare.disk_was_full()\n            else:",
        "            except ZeroDivisionError:\n                self._spare.disk_was_full()\n            else:",
        "tests/attack/test_t13_full_disk.py -k training",
    ),
    Mutant(
        "memory is not hashed", "loaders/spare.py", "not self._layout.leaf_cid(leaf).matches(data)", "False",
        "tests/attack/test_t13_full_disk.py -k hashed",
    ),
    Mutant(
        "a document is not synced before it is renamed", "storage/blocks/atomic.py",
        "                os.fsync(file.fileno())", "                pass", "tests/attack/test_t15_power_loss.py",
    ),
    Mutant(
        "the folder of a document is not synced", "storage/blocks/atomic.py", "            sync_folder(path.parent)",
        "            pass", "tests/attack/test_t15_power_loss.py",
    ),
    Mutant(
        "nodes of our disk are not hashed", "storage/blocks/nodes.py", "return Block.verify(cid, data)",
        "return Block(cid, data)", "tests/attack/test_t15_power_loss.py",
    ),
    Mutant(
        "Retry-After is not honoured", "storage/fetch/scoreboard.py", "and error.retry_after_s:", "and False:",
        "tests/attack/test_t23_too_many_requests.py -k wait",
    ),
    Mutant(
        "an evictor takes what was made anew", "loaders/cache.py", "if not is_still(fd, marks):", "if False:",
        "tests/loaders/test_eviction.py",
    ),
    Mutant(
        "a manifest line borrows from its neighbours", "storage/manifest.py",
        "if (shard.first_sample, shard.first_sample + shard.samples) != (first, end):",
        "if False:", "tests/storage/test_manifest.py",
    ),
    Mutant(
        "open shards take any number of bytes", "loaders/readers/open_readers.py",
        "or self.held_bytes + expected > self._max_bytes", "or False", "tests/loaders/test_cache_budget.py",
    ),
    Mutant(
        "rows may become as large as they like", "loaders/readers/bounds.py", "if not fits(size):", "if False:",
        "tests/attack/test_t6_rows.py",
    ),
    Mutant(
        "decoded rows are kept beyond the budget", "loaders/decoded_files.py", "if room < least:", "if False:",
        "tests/loaders/test_cache_budget.py",
    ),
    Mutant(
        "skip hides what is not the sample's fault", "loaders/access.py",
        "if isinstance(error, HoldfastError) and not isinstance(error, SampleError):", "if False:",
        "tests/loaders/test_on_error.py",
    ),
    Mutant(
        "a checksum is right modulo 65,521", "storage/shards/tar.py", "return found == expected",
        "return found % 65521 == expected % 65521", "tests/storage/shards/test_tar_headers.py",
    ),
    Mutant(
        "a layer is taken for whatever PieceCID it comes with", "storage/pieces/piece.py",
        "        if fold(self.layer, self.subtree_height, self.cid.height) != self.cid.root:", "        if False:",
        "tests/storage/pieces/test_manifest.py tests/storage/pieces/test_hasher.py",
    ),
    Mutant(
        "part of a range is the range", "storage/pieces/piece.py", "len(payload) == end - start and ", "",
        "tests/storage/pieces/test_hasher.py",
    ),
    Mutant(
        "a proof begins below the leaves", "storage/pieces/inclusion.py",
        "not 0 <= self.level <= piece.height\n            or ", "",
        "tests/storage/pieces/test_inclusion.py",
    ),
    Mutant(
        "a row leads out of its piece", "storage/pieces/block_table.py",
        "(ends > limits[rows[\"piece\"]]).any()", "False",
        "tests/storage/pieces/test_manifest.py",
    ),
    Mutant(
        "a wrong manifest convicts the provider", "storage/sources/piece.py",
        "                    if answer.exactly(len(head)) != head:",
        "                    if not answer.exactly(len(head)):",
        "tests/storage/sources/test_piece.py",
    ),
    Mutant(
        "a leaf that is missing is the whole file", "storage/fetch/planner.py",
        "elif isinstance(error, LeafMissingError):", "elif False:", "tests/storage/sources/test_piece.py",
    ),
    Mutant(
        "a report needs no signature", "pipeline/audit/report.py", "if not is_signed(name, signed, mark):", "if False:",
        "tests/pipeline/audit/test_pieces.py",
    ),
    Mutant(
        "a nonce is drawn, and does not follow from the message", "pipeline/filecoin/messages.py",
        'return int.from_bytes(keccak256(text.encode() + content), "big")',
        'return int.from_bytes(__import__("os").urandom(32), "big")',
        "tests/chain/test_hostile.py -k provider_kept",
    ),
    Mutant(
        "two processes pay one provider at once", "pipeline/filecoin/journal.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass", "tests/chain/test_hostile.py -k another_process",
    ),
    Mutant(
        "an old state of the chain is taken for today's", "pipeline/filecoin/standing.py",
        "    if at.block.number < newest - MAX_BACK:\n", "    if False:\n", "tests/chain/test_hostile.py -k behind",
    ),
    Mutant(
        "half of a message ends it", "pipeline/filecoin/standing.py",
        "message = journal.bind(message, made[0])", "journal.close(message)\n            continue",
        "tests/chain/test_hostile.py -k half",
    ),
    Mutant(
        "what was not quoted is paid", "pipeline/filecoin/copying.py",
        "if others := set(message.pieces).difference(pieces):", "if others := set():",
        "tests/chain/test_hostile.py -k quoted",
    ),
    Mutant(
        "who is paid no longer keeps pieces", "pipeline/audit/chain.py",
        "    if not terms.end_epoch or at.block.number <= terms.end_epoch:", "    if True:",
        "tests/chain/test_hostile.py -k paid_no_longer",
    ),
    Mutant(
        "a ceiling is only shown", "pipeline/place/pieces.py", "        refuse(self._plan)\n", "",
        "tests/chain/test_commands.py -k ceiling",
    ),
    Mutant(
        "another tool's data sets are added to", "pipeline/filecoin/standing.py",
        ".get(SOURCE_KEY) != table.source", ".get(SOURCE_KEY) == 1", "tests/chain/test_foreign_clients.py",
    ),
    Mutant(
        "one endpoint is believed whatever another says", "storage/chain/agreed.py",
        "            if found != first:\n", "            if False:\n", "tests/chain/test_endpoints.py -k contradict",
    ),
    Mutant(
        "a provider that was replaced is none", "pipeline/audit/chain.py",
        "    if state.provider != expected:\n", "    if False:\n", "tests/chain/test_chain_audit.py -k replaced",
    ),
    Mutant(
        "a missed deadline is none", "pipeline/audit/chain.py",
        "if proving.deadline and now > proving.deadline + (proving.period if proving.proven else 0):", "if False:",
        "tests/chain/test_chain_audit.py -k missed",
    ),
    Mutant(
        "pieces about to be removed are kept", "pipeline/audit/chain.py", "    if gone:\n", "    if False:\n",
        "tests/chain/test_chain_audit.py -k removed",
    ),
    Mutant(
        "events that the state denies are believed", "pipeline/audit/chain.py",
        "and one not in events.removed:", "and False:", "tests/chain/test_endpoints.py -k state_denies",
    ),
    Mutant(
        "a slow provider's fees pass the ceiling", "pipeline/filecoin/allowance.py", "        if cost > self.left:\n",
        "        if False:\n", "tests/chain/test_hostile.py -k ceiling",
    ),
    Mutant(
        "payments in the newest blocks are not looked for", "pipeline/filecoin/messages.py",
        "| self._at_head()", "", "tests/chain/test_hostile.py -k nobody_remembers",
    ),
    Mutant(
        "who was chosen is read back from anywhere", "pipeline/place/pieces.py", ", copy.guard)", ")",
        "tests/chain/test_registry.py -k read_back",
    ),
    Mutant(
        "who was chosen is sent pieces anywhere", "pipeline/filecoin/keep.py", "self._env, copy.guard)", "self._env)",
        "tests/chain/test_registry.py -k own_network",
    ),
    Mutant(
        "who was chosen is dialled anywhere", "pipeline/filecoin/plan.py", "NetGuard(guarded=not local)",
        "NetGuard(guarded=False)", "tests/chain/test_registry.py -k public_network",
    ),
    Mutant(
        "one endpoint is enough to sign by, while others are silent", "pipeline/filecoin/copying.py",
        "            if not chain.failed:\n", "            if True:\n", "tests/chain/test_hostile.py -k silent",
    ),
    Mutant(
        "a provider of the registry leads anywhere", "storage/pins/curio.py",
        "connection._create_connection = Dial", "connection._created_connection = Dial",
        "tests/chain/test_registry.py -k own_network",
    ),
    Mutant(
        "an address that was looked up is not checked", "storage/control.py",
        "if self._guard.guarded else", "if False else", "tests/chain/test_registry.py -k own_network",
    ),
    Mutant(
        "an epoch without a block ends the audit", "storage/chain/rpc.py",
        'if code == _NULL_ROUND or "null round" in message:', "if False:",
        "tests/chain/test_endpoints.py -k epoch_without",
    ),
    Mutant(
        "what a killed pack had finished is taken for what comes", "pipeline/pieces/finished.py",
        "        if self._next != cid.digest:\n", "        if False:\n", "tests/pipeline/pieces/test_pack.py -k killed",
    ),
    Mutant(
        "groups that are decoded ahead push out those at hand", "loaders/readers/decoded.py",
        "max(self.max_bytes // 4, min(self.max_bytes // 2, left))", "self.max_bytes // 2",
        "tests/loaders/test_decoded_rows.py -k make_room",
    ),
    Mutant(
        "leaves that never come are waited for", "loaders/shard_file.py", "if futile > _FUTILE:", "if False:",
        "tests/loaders/test_fetcher_files.py -k never_come",
    ),
]  # fmt: skip


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.name for word in words)]
    survived = []
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for room in ROOMS:
            shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        (copy / "build").symlink_to(ROOT / "build")  # the programs of others that tests start
        # `holdfast` of the copy comes before the one that is installed: its rooms are links in one folder
        (copy / "path/holdfast").mkdir(parents=True)
        for part in [
            *(copy / "holdfast").iterdir(),
            *(copy / room for room in ROOMS if room not in ("holdfast", "tests")),
        ]:
            (copy / "path/holdfast" / part.name).symlink_to(part)
        for mutant in chosen:
            path = copy / mutant.file
            text = path.read_text()
            if text.count(mutant.before) < 1:
                print(f"?  {mutant.name}: not in {mutant.file} any more")
                survived.append(mutant)
                continue
            path.write_text(text.replace(mutant.before, mutant.after))
            killed = not _passes(copy, mutant.tests)
            path.write_text(text)
            print(f"{'ok' if killed else 'SURVIVED'}  {mutant.name}", flush=True)
            if not killed:
                survived.append(mutant)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutants were noticed")
    return 1 if survived else 0


def _passes(copy: Path, tests: str) -> bool:
    files, _, expression = tests.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "40", *files.split()]
    command += ["-k", expression] if expression else []
    # safe path: the working folder has a `holdfast` too, which would lead to the one that is installed
    env = {**os.environ, "PYTHONPATH": str(copy / "path"), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:], done.stderr[-2000:])
        raise SystemExit(f"the tests could not run: {tests}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
