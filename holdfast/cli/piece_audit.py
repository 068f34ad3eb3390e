"""For auditors: `piece audit`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..configs.errors import ConfigError
from .auditor import verdict_lines
from .chain_audit import announced_words, chain_document, chain_words, read_announced, read_chain
from .key import PassphraseFile, keys_of, read_passphrase
from .options import AllowNet, AsJson, Deadline, From, Repo, RosterFile, deadline_s, guard
from .output import emit, progress

if TYPE_CHECKING:
    from ..pipeline.audit.report import Replay
    from ..storage.chain.registry import StorageProvider
    from ..storage.names.key import PrivateKey
    from ..storage.pieces.manifest import PieceManifest
    from ..storage.sources.netguard import NetGuard
    from ..storage.sources.piece import PieceSource


def audit(
    manifest: Annotated[Path, typer.Argument(help="The folder that `piece manifest` wrote. No data is needed.")],
    urls: From = None,
    roster: RosterFile = None,
    samples: Annotated[int | None, typer.Option(min=1, help="MiB to ask each provider for (100).")] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="HEX", help="A public seed: fixes what is asked. Random if not given.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was asked and what came, signed by --key.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="LABEL", help="A key of `holdfast key`, for --report.")] = None,
    passphrase: PassphraseFile = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check the signature of this report, and ask the same again.")
    ] = None,
    data_sets: Annotated[
        list[int] | None,
        typer.Option(
            "--data-set", metavar="N", help="A data set of the chain to look at, whoever pays; again for more."
        ),
    ] = None,
    chain_only: Annotated[
        bool, typer.Option("--chain-only", help="Read the chain, and ask providers nothing.")
    ] = False,
    deadline: Deadline = None,
    allow_net: AllowNet = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Ask providers of Filecoin for parts of pieces drawn at random, and hash them; exit 1 if any fails.

    With a roster that has a [filecoin] table, the chain is read too: are the pieces there, were they proven in time?
    """
    from ..pipeline.audit.draw import CONFIDENCE
    from ..pipeline.audit.pieces import DEFAULT_SAMPLES, audit_pieces
    from ..pipeline.audit.report import signed_report
    from ..storage.blocks.atomic import write_atomic
    from ..storage.pieces.manifest import PieceManifest

    signer = _signer(report, key, passphrase, repo)
    made = PieceManifest.read(manifest)
    signed_by = None
    if replay is not None:
        if seed is not None or samples is not None:
            raise ConfigError("--replay says what is asked", hint="leave out --seed and --samples")
        before = _replay(replay, made)
        seed, samples, signed_by = before.seed, before.samples, str(before.signer)
    asked_at = datetime.now(UTC).isoformat(timespec="seconds")
    found_chain = read_chain(made, roster, data_sets or [], must=chain_only)
    chain = found_chain.audit if found_chain else None
    if chain_only:
        if replay is not None or report is not None:
            raise ConfigError("--chain-only goes without --report and --replay", hint="they are of what was asked")
        assert chain is not None
        emit({"root": str(made.root)} | chain_document(chain), as_json=as_json, words="\n".join(chain_words(chain)))
        raise typer.Exit(0 if chain.ok else 1)
    with progress("auditing", unit="answers") as update:
        found = audit_pieces(
            made,
            _sources(made, urls, roster, guard(allow_net), found_chain.chosen if found_chain else ()),
            samples=samples or DEFAULT_SAMPLES,
            seed=seed,
            deadline_s=deadline_s(deadline) or 30.0,
            on_progress=update,
        )
    if report is not None and signer is not None:
        write_atomic(report, signed_report(found, made, asked_at, signer, chain_document(chain) if chain else {}))
    document = {
        "root": str(found.root),
        "seed": found.seed,
        "samples": found.samples,
        "pieces": found.files,
        "total_bytes": found.total_bytes,
        "confidence": CONFIDENCE,
        "ok": found.ok and (chain is None or chain.ok),
        "providers": [asdict(provider) | {"ok": provider.ok} for provider in found.providers],
    }
    head = f"{found.samples} parts of {found.files} pieces of {found.root}, drawn from the seed {found.seed}"
    words = [head, *verdict_lines(found)]
    if chain is not None:
        document |= chain_document(chain)
        words += chain_words(chain)
    if announced := read_announced(made, roster):
        document["announced"] = [asdict(one) for one in announced]
        words += announced_words(announced)
    if signed_by is not None:
        document["replay_of"] = signed_by
        words.append(f"  the report that was replayed is signed by {signed_by}")
    if report is not None:
        words.append(f"  → {report}")
    emit(document, as_json=as_json, words="\n".join(words))
    if not document["ok"]:
        raise typer.Exit(1)


def _signer(report: Path | None, key: str | None, passphrase: Path | None, repo: Path | None) -> PrivateKey | None:
    if (report is None) != (key is None):
        raise ConfigError("--report and --key go together", hint="`holdfast key gen LABEL` makes a key")
    return None if key is None else keys_of(repo).load(key, read_passphrase(passphrase))


def _replay(path: Path, manifest: PieceManifest) -> Replay:
    from ..pipeline.audit.report import MAX_REPORT_BYTES, replay_of

    try:
        with path.open("rb") as file:
            data = file.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="check the path") from error
    return replay_of(data, manifest)


def _sources(
    manifest: PieceManifest, urls: list[str] | None, roster: Path | None, redirects: NetGuard,
    chosen: Sequence[tuple[str, StorageProvider]],
) -> list[PieceSource]:  # fmt: skip
    """Whom to ask: those of the command line, or all of kind filecoin in the roster, whatever manifest it names, and
    those of the registry that are paid: they are dialled where the guard allows it.
    """
    from ..configs.roster import Roster
    from ..storage.sources.http import Endpoint
    from ..storage.sources.netguard import NetGuard
    from ..storage.sources.piece import PieceSource

    if urls and roster:
        raise ConfigError("--from and --roster exclude each other", hint="give one of them")
    if urls:
        return [PieceSource(url, Endpoint(url, redirect_guard=redirects), manifest) for url in urls]
    if roster is None:
        raise ConfigError("nobody to audit", hint="give --from URL or --roster FILE")
    loaded = Roster.load(roster)
    found = [
        PieceSource(
            one.name, Endpoint(one.url, one.headers(os.environ), one.ca_file, redirect_guard=redirects), manifest
        )
        for one in loaded.providers
        if one.kind == "filecoin"
    ]
    local = loaded.filecoin is not None and loaded.filecoin.network == "devnet"
    dialled = NetGuard(guarded=False) if local else redirects
    found += [
        PieceSource(name, Endpoint(one.url, guard=dialled, redirect_guard=redirects), manifest)
        for name, one in chosen
        if one.url
    ]
    if not found:
        raise ConfigError(
            f"{roster} names no provider of kind filecoin, and none is paid that could be asked",
            hint="name one in it; with a [filecoin] table, --chain-only says what the chain knows",
        )
    return found
