"""What the demo claims, whether it held, and the report that says so."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..storage.fetch.scoreboard import SourceStats
from .meter import Meter
from .trainer import Run

DURING_S = 2.0


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence, and whether it held."""

    what: str
    held: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: what training saw, what the meter saw, what each peer did."""

    run: Run
    meter: Meter
    peers: list[SourceStats]


def phases(outcome: Outcome) -> list[dict[str, Any]]:
    """Per event: bytes per second before it, in the two seconds after it, and until the next event or the end."""
    meter = outcome.meter
    if not meter.marks:
        return []
    ends = [mark.at_s for mark in meter.marks[1:]] + [meter.times_s[-1]]
    starts = [0.0] + [mark.at_s for mark in meter.marks[:-1]]
    fetched = [mark.bytes for mark in meter.marks[1:]] + [meter.bytes[-1]]
    return [
        {
            "event": mark.label,
            "step": mark.step,
            "at_s": round(mark.at_s, 3),
            "before_bytes_s": round(meter.rate(start, mark.at_s)),
            "during_bytes_s": round(meter.rate(mark.at_s, min(mark.at_s + DURING_S, end))),
            "after_bytes_s": round(meter.rate(mark.at_s, end)),
            "bytes_after": later - mark.bytes,
        }
        for mark, start, end, later in zip(meter.marks, starts, ends, fetched, strict=True)
    ]


def judge(
    calm: Outcome, rough: Outcome, steps: int, liar: str, returned: tuple[str, int], publisher_gone: bool
) -> list[Claim]:
    """Every claim of the demo. `returned`: the peer that came back, and its bytes when it was killed."""
    wrong = {peer.name: peer.wrong for peer in rough.peers}
    bytes_of = {peer.name: peer.bytes for peer in rough.peers}
    name, before = returned
    after = [phase["bytes_after"] for phase in phases(rough)]
    return [
        Claim("the publisher was gone before training began", publisher_gone, "its process ended, its folder removed"),
        Claim(
            "both runs saw the same samples in the same order",
            calm.run.digest == rough.run.digest and calm.run.digest != "",
            f"{calm.run.digest[:16]}… and {rough.run.digest[:16]}…",
        ),
        Claim(
            "both runs finished their steps", len(calm.run.losses) == len(rough.run.losses) == steps,
            f"{len(calm.run.losses)} and {len(rough.run.losses)} of {steps}",
        ),
        *(
            Claim(
                f"the loss went down ({label})", run.last_loss < run.first_loss,
                f"{run.first_loss:.3f} → {run.last_loss:.3f}",
            )
            for label, run in (("undisturbed", calm.run), ("disturbed", rough.run))
        ),
        Claim("bytes were still being fetched after each event", len(after) == 3 and min(after) > 0, f"{after} bytes"),
        Claim("wrong bytes were caught", wrong.get(liar, 0) > 0, f"{wrong.get(liar, 0)} answers of {liar}"),
        Claim("nobody else was blamed", sum(wrong.values()) == wrong.get(liar, 0), str(wrong)),
        Claim(
            f"{name} was used again when it was back", bytes_of.get(name, 0) > before,
            f"{bytes_of.get(name, 0) - before} bytes since it was killed",
        ),
    ]  # fmt: skip


def write_report(
    path: Path, root: str, claims: list[Claim], outcomes: dict[str, Outcome], more: dict[str, Any]
) -> None:
    """`report.json`."""
    document = {
        "root": root,
        "claims": [asdict(claim) for claim in claims],
        "runs": {
            label: {
                "digest": outcome.run.digest,
                "steps": len(outcome.run.losses),
                "samples": outcome.run.samples,
                "first_loss": outcome.run.first_loss,
                "last_loss": outcome.run.last_loss,
                "seconds": outcome.run.seconds,
                "longest_stall_ms": outcome.run.longest_stall_ms,
                "bytes": outcome.meter.bytes[-1],
                "events": phases(outcome),
                "peers": [asdict(peer) for peer in outcome.peers],
            }
            for label, outcome in outcomes.items()
        },
        **more,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
