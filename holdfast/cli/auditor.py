"""For auditors: `audit`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ..configs.sizes import format_size
from .options import AllowNet, AsJson, Deadline, From, RosterFile, deadline_s, guard, sources
from .output import emit, progress, warn
from .reader import Uri

if TYPE_CHECKING:
    from ..pipeline.audit.audit import AuditResult


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(audit)


def audit(
    uri: Uri,
    urls: From = None,
    roster: RosterFile = None,
    samples: Annotated[int, typer.Option(min=1, help="Leaves to ask each provider for.")] = 459,
    seed: Annotated[
        str | None, typer.Option(metavar="HEX", help="A public seed: fixes what is asked. Random if not given.")
    ] = None,
    deadline: Deadline = None,
    allow_net: AllowNet = None,
    as_json: AsJson = False,
) -> None:
    """Ask each named provider itself for leaves drawn at random, and hash them; exit 1 if any fails."""
    from ..pipeline.audit.audit import CONFIDENCE
    from ..pipeline.audit.audit import audit as run
    from ..storage.session import locate

    given = sources(urls, roster)
    where = locate(uri, given, warn)
    with progress("auditing", unit="answers") as update:
        found = run(
            str(where),
            sources=given,
            samples=samples,
            seed=seed,
            deadline_s=deadline_s(deadline) or 30.0,
            redirects=guard(allow_net),
            on_progress=update,
        )
    document = {
        "root": str(found.root),
        "seed": found.seed,
        "samples": found.samples,
        "files": found.files,
        "total_bytes": found.total_bytes,
        "confidence": CONFIDENCE,
        "ok": found.ok,
        "providers": [asdict(provider) | {"ok": provider.ok} for provider in found.providers],
    }
    words = [f"{found.samples} leaves of {found.root}, drawn from the seed {found.seed}", *verdict_lines(found)]
    emit(document, as_json=as_json, words="\n".join(words))
    if not found.ok:
        raise typer.Exit(1)


def verdict_lines(found: AuditResult) -> list[str]:
    """What an audit came to, provider by provider."""
    from ..pipeline.audit.draw import CONFIDENCE

    words = []
    for provider in found.providers:
        name = provider.name if provider.name == provider.url else f"{provider.name} ({provider.url})"
        words.append(
            f"  {provider.verdict:11} {name}: {provider.samples - provider.failed} of {provider.samples} right,"
            f" loss ≤ {100 * provider.loss_at_most:.2f} % at {100 * CONFIDENCE:.0f} %, {format_size(provider.bytes)}"
        )
        if provider.first_failure:
            words.append(f"              first: {provider.first_failure}")
        if provider.gave_up_after is not None:
            words.append(
                f"              silent: given up after {provider.gave_up_after} answers, the rest counts as failed"
            )
    return words
