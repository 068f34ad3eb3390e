"""`run_demo`: publish, keep on three peers, remove the publisher, train twice, judge."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from ..configs.errors import ConfigError, HoldfastError
from ..configs.roster import Provider, Roster, write_roster
from ..configs.sizes import format_size
from ..loaders.dataset import StreamingDataset
from ..pipeline.publish import publish
from ..pipeline.result import PublishResult
from ..storage.pins.pinning_service import PinningService
from ..storage.pins.wait import Requested, wait
from .corpus import corpus
from .disturbance import Disturber, Event, events
from .faults.server import FaultServer
from .meter import Meter
from .peers import PeerProcess
from .plot import plot
from .report import Outcome, judge, write_report
from .screen import Screen, bar
from .trainer import BATCH, train

LEAF_BYTES = 16 << 10
SHARD_BYTES = 2 << 20  # of text: a fifth of it as parquet
SHUFFLE_BYTES = 64 << 10  # one row group: bytes are fetched all through the run, not all at its start
PREFETCH_BYTES = 1 << 20
RUN_S = 12  # what fetching the whole dataset takes at the rates that the peers are limited to
MIN_SAMPLES = 400
CACHE_BYTES = 256 << 20
PIN_DEADLINE_S = 60.0
LABELS = {"alice": ("Alice GmbH", "DE"), "bob": ("Bob SA", "CH"), "carol": ("Carol Pte", "SG")}


def run_demo(path: Path | None, output: Path, steps: int) -> int:
    """The whole demo; returns the exit code: 0 only if every claim held. Leaves the report in `output`."""
    screen = Screen(Console(stderr=False))
    output.mkdir(parents=True, exist_ok=True)
    work = output / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    started = time.monotonic()
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, work, ignore_errors=True)
        published, peers, gone = _keep(path, work, screen, cleanup)
        # a correct peer cannot be made to send wrong bytes, it hashes them: so the lie happens on the way
        bob = cleanup.enter_context(FaultServer.before(peers["bob"].url))
        roster = _roster(work, peers, bob.url, published.bytes // RUN_S // len(peers))
        # within one epoch: the next would find everything in the cache
        steps = min(steps, published.samples * 9 // 10 // BATCH)
        calm = _train(published, roster, work / "cache-calm", steps, "undisturbed", [], screen)
        bytes_at_kill: list[int] = []
        planned = events(steps, peers["alice"], bob, peers["carol"])
        rough = _train(published, roster, work / "cache-rough", steps, "disturbed", planned, screen, bytes_at_kill)
    outcomes = {"undisturbed": calm, "disturbed": rough}
    claims = judge(calm, rough, steps, "bob", ("alice", bytes_at_kill[0]), gone)
    plot({label: outcome.meter for label, outcome in outcomes.items()}, output / "throughput.png")
    more = {
        "samples": published.samples,
        "shards": published.shards,
        "bytes": published.bytes,
        "seconds": time.monotonic() - started,
    }
    write_report(output / "report.json", str(published.root), claims, outcomes, more)
    screen.results(published, outcomes, claims, output)
    return 0 if all(claim.held for claim in claims) else 1


def _keep(
    path: Path | None, work: Path, screen: Screen, cleanup: ExitStack
) -> tuple[PublishResult, dict[str, PeerProcess], bool]:
    """Publish, let three peers pin it from the publisher, and remove the publisher."""
    folder = work / "publisher"
    with screen.stage("publishing") as update:
        source = corpus(path, work / "corpus")
        published = publish(
            source, name="demo", repo=folder / "repo", leaf_size=LEAF_BYTES, shard_size=SHARD_BYTES,
            shuffle_block=SHUFFLE_BYTES,
            on_progress=lambda done: update(done.done_bytes, done.total_bytes),
        )  # fmt: skip
    if published.samples < MIN_SAMPLES:
        raise ConfigError(f"{source} has {published.samples} samples", hint=f"the demo needs {MIN_SAMPLES} or more")
    screen.say(
        f"published {source}: {published.samples} samples, {published.shards} shards, {format_size(published.bytes)};"
        f" {published.skipped_count} files are no text (named in the report of `holdfast publish`)"
    )
    screen.say(f"  {published.uri}")
    publisher = PeerProcess("publisher", folder)
    peers = {name: PeerProcess(name, work / name) for name in LABELS}
    for process in (publisher, *peers.values()):
        cleanup.callback(process.stop)
        process.start()
    with screen.stage("three peers pin it") as update:
        asked = []
        for peer in peers.values():
            target = PinningService(
                Provider(name=peer.name, kind="peer", url=peer.url, token_file=peer.token_file), env=os.environ
            )
            asked.append(Requested(target, target.add(published.root, "demo", [publisher.url])))
        done: dict[str, int] = {}

        def seen(item: Requested) -> None:
            done[item.target.name] = (item.pin.progress() or (0, 0))[0]
            update(sum(done.values()), 3 * published.bytes)

        for item in wait(asked, PIN_DEADLINE_S, seen):
            if item.pin.error:
                raise HoldfastError(f"{item.target.name} could not pin the dataset: {item.pin.error}")
            screen.say(f"  {item.target.name} ({', '.join(LABELS[item.target.name])}): {item.pin.status}")
            item.target.close()
    ended = publisher.stop() == 0
    shutil.rmtree(folder)
    shutil.rmtree(work / "corpus", ignore_errors=True)
    screen.say("the publisher is gone: its process ended, its folder is removed")
    return published, peers, ended and not folder.exists()


def _roster(work: Path, peers: dict[str, PeerProcess], bob_url: str, rate: int) -> Path:
    providers = [
        Provider(
            name=name, kind="peer", url=bob_url if name == "bob" else peer.url, max_rate=rate,
            operator=LABELS[name][0], jurisdiction=LABELS[name][1],
        )
        for name, peer in peers.items()
    ]  # fmt: skip
    path = work / "roster.toml"
    path.write_text(write_roster(providers))
    Roster.load(path)
    return path


def _train(
    published: PublishResult, roster: Path, cache: Path, steps: int, label: str, planned: list[Event], screen: Screen,
    bytes_at_kill: list[int] | None = None,
) -> Outcome:  # fmt: skip
    dataset = StreamingDataset(
        published.uri, sources=roster, seed=7, cache=cache, cache_bytes=CACHE_BYTES, prefetch_bytes=PREFETCH_BYTES
    )
    with bar(screen, f"training, {label}", steps) as advance, Meter(dataset) as meter:
        disturber = Disturber(planned, meter)

        def on_step(step: int) -> None:
            before = len(planned)
            disturber.at(step)
            if bytes_at_kill is not None and not bytes_at_kill and len(planned) < before:
                bytes_at_kill.append(next(peer.bytes for peer in dataset.stats().sources if peer.name == "alice"))
            advance(step)

        run = train(dataset, steps, on_step)
    outcome = Outcome(run, meter, list(dataset.stats().sources))
    dataset.close()
    screen.say(
        f"  {label}: digest {run.digest[:16]}…, loss {run.first_loss:.3f} → {run.last_loss:.3f}, {run.seconds:.1f} s"
    )
    return outcome
