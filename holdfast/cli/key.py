"""For publishers: `key gen|ls|export|import`: the keys that move names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..configs.errors import ConfigError
from .options import AsJson, Repo, repo_path
from .output import emit, warn

if TYPE_CHECKING:
    from ..storage.names.keys import KeyFile, Keys

key = typer.Typer(no_args_is_help=True, help="Keys: who may move a name (Ed25519).")

Label = Annotated[str, typer.Argument(help="What the key is called here.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="The passphrase of the key: the first line of this file."),
]
_MAX_PASSPHRASE_BYTES = 1023  # what OpenSSL takes


def register(app: typer.Typer) -> None:
    """Add the commands."""
    key.command()(gen)
    key.command()(ls)
    key.command()(export)
    key.command("import")(import_)
    app.add_typer(key, name="key")


def gen(label: Label, passphrase: PassphraseFile = None, repo: Repo = None, as_json: AsJson = False) -> None:
    """Make a key, and with it a name."""
    from ..storage.names.key import PrivateKey

    _say(keys_of(repo).add(label, PrivateKey.generate(), read_passphrase(passphrase)), as_json=as_json)


def ls(repo: Repo = None, as_json: AsJson = False) -> None:
    """List the keys, and the names that they move."""
    found, problems = keys_of(repo).ls()
    for problem in problems:
        warn(problem)
    emit({"keys": [_document(item) for item in found]}, as_json=as_json, words="\n".join(map(_line, found)) or "(none)")


def export(
    label: Label,
    output: Annotated[Path, typer.Option("-o", "--output", help="A new file for the key.")],
    form: Annotated[str, typer.Option("--format", help="pem, or libp2p as `ipfs key import` reads it.")] = "pem",
    passphrase: PassphraseFile = None,
    bare: Annotated[bool, typer.Option("--no-passphrase", help="Write it without its passphrase.")] = False,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Write a key into a file that only you may read. Whoever has it can move the name. A passphrase stays with it."""
    from ..storage.names.keys import write_secret

    if form not in ("pem", "libp2p"):
        raise ConfigError(f"--format {form}", hint="expected pem or libp2p")
    secret = read_passphrase(passphrase)
    found = keys_of(repo).load(label, secret)
    if form == "libp2p" and secret is not None and not bare:
        raise ConfigError("a libp2p key file has no passphrase", hint="give --format pem, or --no-passphrase")
    encrypted = secret is not None and not bare
    data = found.to_libp2p() if form == "libp2p" else found.to_pem(secret if encrypted else None)
    try:
        write_secret(output, data)
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}", hint="name a new file") from error
    words = f"{output}: the key of {found.name}, {'with its passphrase' if encrypted else 'readable as it is'}"
    emit({"name": str(found.name), "path": str(output), "encrypted": encrypted}, as_json=as_json, words=words)


def import_(
    label: Label,
    file: Annotated[
        Path, typer.Argument(help="A PEM file, or one that `ipfs key export` wrote; - for standard input.")
    ],
    passphrase: PassphraseFile = None,
    repo: Repo = None,
    as_json: AsJson = False,
) -> None:
    """Take a key over, with its passphrase if it has one."""
    from ..storage.names.key import MAX_KEY_BYTES, PrivateKey

    secret = read_passphrase(passphrase)
    found = PrivateKey.parse(_read(file, MAX_KEY_BYTES), secret)
    _say(keys_of(repo).add(label, found, secret), as_json=as_json)


def keys_of(repo: Path | None) -> Keys:
    """The keys of the repository that the command line names."""
    from ..storage.names.keys import Keys

    return Keys(repo_path(repo) / "keys")


def read_passphrase(file: Path | None) -> bytes | None:
    """The first line of a file. Raises `ConfigError`, which shows nothing of it."""
    if file is None:
        return None
    line = _read(file, 64 << 10).split(b"\n", 1)[0].rstrip(b"\r")
    if not line or len(line) > _MAX_PASSPHRASE_BYTES:
        raise ConfigError(f"{file}: the first line must have 1 to {_MAX_PASSPHRASE_BYTES} bytes")
    return line


def _read(file: Path, max_bytes: int) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(max_bytes + 1)
    try:
        with file.open("rb") as opened:
            return opened.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint="name a file") from error


def _say(found: KeyFile, *, as_json: bool) -> None:
    emit(_document(found), as_json=as_json, words=_line(found))


def _document(found: KeyFile) -> dict[str, object]:
    return {"label": found.label, "name": str(found.name), "encrypted": found.encrypted}


def _line(found: KeyFile) -> str:
    return f"{found.name}  {found.label}{' (with a passphrase)' if found.encrypted else ''}"
