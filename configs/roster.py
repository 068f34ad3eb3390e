"""The roster: the providers a user knows, and who runs them. A TOML file of `[[provider]]` tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from .document import first_problem, parse_document, read_document, unknown_key
from .errors import ConfigError
from .fields import path, variable
from .filecoin import Filecoin
from .sizes import parse_size

FORMAT = 1
MAX_TOKEN_BYTES = 16 << 10
MAX_NAME_CHARS = 100
_TABLES = ("format", "provider", "filecoin")

Kind = Literal["peer", "gateway", "mirror", "router", "kubo", "cluster", "pinning-service", "filecoin"]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # token of RFC 9110 §5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)


class Provider(BaseModel):
    """An endpoint, who runs it (labels, "" = not said), and how to speak to it.

    Secrets are named (`token_env`, `token_file`, `headers_env`), never held: a `Provider` can be printed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: str
    kind: Kind
    url: str
    operator: str = ""
    jurisdiction: str = ""
    network: str = ""
    policy: str = ""
    token_env: str | None = None
    token_file: Path | None = None
    headers_env: str | None = None
    ca_file: Path | None = None
    path_prefix: str = ""
    path_map: dict[str, str] = {}
    max_rate: int | None = None
    gateway: str | None = None
    replication_min: int | None = Field(default=None, ge=1, le=1000)
    replication_max: int | None = Field(default=None, ge=1, le=1000)
    tags: dict[str, str] = {}
    pieces: Path | None = None

    @classmethod
    def at(cls, url: str, kind: Kind, *, token_file: Path | None = None) -> Provider:
        """The provider at a URL of the command line, named by it. Raises `ConfigError`."""
        entry = {"name": url[:MAX_NAME_CHARS], "kind": kind, "url": url}
        return _provider(entry | ({"token_file": str(token_file.absolute())} if token_file else {}), url, {})

    def __hash__(self) -> int:
        return hash((self.name, self.url))  # path_map is a dict; equal providers still hash alike

    @field_validator("name", "operator", "jurisdiction", "network", "policy")
    @classmethod
    def _label(cls, value: str, info: ValidationInfo) -> str:
        if len(value) > MAX_NAME_CHARS or not value.isprintable() or value != value.strip():
            raise ValueError(f"expected one line of at most {MAX_NAME_CHARS} characters without spaces around it")
        if info.field_name == "name" and not value:
            raise ValueError("expected a name, got an empty text")
        return value

    @field_validator("url", "gateway")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        # Nothing behind an @ or ? is ever shown: it may be a password.
        authority = re.split(r"[/?#\\]", value.split("://", 1)[-1], maxsplit=1)[0]
        if "@" in authority:
            raise ValueError("expected no user name or password in it; put a token into token_env or token_file")
        if "?" in value or "#" in value:
            raise ValueError("expected no ? or # in it; put secrets into token_env or headers_env")
        shown = f'got "{value[:80]}"'
        if not value.lower().startswith(("http://", "https://")):
            raise ValueError(f"expected http:// or https://, {shown}")
        try:
            parts = urlsplit(value)
            host, _port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
            raise ValueError(f"expected http(s)://host[:port][/path], {shown}")
        return value

    @field_validator("token_env", "headers_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        return variable(value)

    @field_validator("token_file", "ca_file", "pieces", mode="before")
    @classmethod
    def _file(cls, value: object, info: ValidationInfo) -> object:
        return path(value, info)

    @field_validator("path_prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        value = value.strip("/")
        if {".", ".."} & set(value.split("/")):
            raise ValueError("expected a path without . and .. parts")
        return f"{value}/" if value else ""

    @field_validator("path_map")
    @classmethod
    def _map(cls, value: dict[str, str]) -> dict[str, str]:
        if not all(path and target for path, target in value.items()):
            raise ValueError('expected pairs "path in the dataset" = "name of the object", got an empty text')
        return value

    @field_validator("max_rate", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        if value is None:
            return None
        if type(value) is int and value > 0:
            return value
        if isinstance(value, str) and value.endswith("/s"):
            try:
                rate = parse_size(value.removesuffix("/s"))
            except ConfigError:
                rate = 0
            if rate > 0:
                return rate
        shown = f', got "{value[:40]}"' if isinstance(value, str) else ""
        raise ValueError(f"expected a size per second such as 50MB/s{shown}")

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token_env is not None and self.token_file is not None:
            raise ValueError("expected token_env or token_file, got both")
        if (self.replication_min or 0) > (self.replication_max or 1000):
            raise ValueError("expected a replication_min that is not above replication_max")
        if self.tags and self.kind != "cluster":
            raise ValueError(f"expected tags at a cluster, got them at a {self.kind}")
        if self.pieces is not None and self.kind != "filecoin":
            raise ValueError(f"expected pieces at a filecoin provider, got them at a {self.kind}")
        return self

    def headers(self, env: Mapping[str, str]) -> dict[str, str]:
        """The HTTP headers to send to this provider, from the variables and files that it names.

        Raises `ConfigError` when one is missing, unreadable, empty or malformed; no message shows a secret.
        Not raised when the provider names none: the result is then empty.
        """
        headers = _extra_headers(self._variable_of(env, self.headers_env, "headers_env")) if self.headers_env else {}
        if isinstance(headers, str):
            raise self._wrong("headers_env", f"{self.headers_env}: {headers}")
        token = self._token(env)
        if token is not None:
            if "authorization" in {name.lower() for name in headers}:
                raise self._wrong("headers_env", f"{self.headers_env} sets Authorization, and so does the token")
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _token(self, env: Mapping[str, str]) -> str | None:
        if self.token_env:
            key, origin, token = (
                "token_env",
                self.token_env,
                self._variable_of(env, self.token_env, "token_env"),
            )
        elif self.token_file:
            key, origin = "token_file", str(self.token_file)
            try:
                with self.token_file.open("rb") as file:
                    token = file.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
            except UnicodeDecodeError:
                raise self._wrong(key, f"{origin}: expected one line of ASCII text") from None
            except OSError as error:
                raise self._wrong(key, f"{origin}: cannot be read ({error.strerror})") from error
        else:
            return None
        if not token or len(token) > MAX_TOKEN_BYTES or not _HEADER_VALUE.fullmatch(token):
            raise self._wrong(key, f"{origin}: expected one line of at most {MAX_TOKEN_BYTES} ASCII characters")
        return token

    def _variable_of(self, env: Mapping[str, str], variable: str, key: str) -> str:
        value = env.get(variable, "").strip()
        if not value:
            raise self._wrong(key, f"the environment variable {variable} is not set", hint=f"export {variable}=…")
        return value

    def _wrong(self, key: str, what: str, hint: str = "") -> ConfigError:
        return ConfigError(f'provider "{self.name}": {key}: {what}', hint=hint)


class Roster(BaseModel):
    """A user's providers, in the order of the file. `path` is where they were read from.

    `filecoin`: how storage is paid for on Filecoin; None: those of kind filecoin are read from, and asked for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    format: int = FORMAT
    providers: tuple[Provider, ...]
    path: Path | None = None
    filecoin: Filecoin | None = None

    @classmethod
    def load(cls, path: Path) -> Roster:
        """Read a roster, whose relative paths start at its folder. Raises `ConfigError` as `parse` does."""
        return cls.parse(read_document(path), str(path), path=path)

    @classmethod
    def parse(cls, text: str, origin: str, *, path: Path | None = None) -> Roster:
        """Read the text of a roster; `origin` names it in messages. Raises `ConfigError` in one sentence."""
        document = parse_document(text, origin)
        version = document.get("format", FORMAT)
        if type(version) is not int or version < 1:
            raise ConfigError(f"{origin}: format: expected {FORMAT}, the version of roster files")
        if version > FORMAT:
            raise ConfigError(
                f"{origin}: format: this holdfast reads format {FORMAT}, the file has {version}",
                hint="update holdfast",
            )
        for key in document:
            if key not in _TABLES:
                raise ConfigError(f"{origin}: {unknown_key(key, _TABLES)}")
        context = {"folder": path.parent if path else None}
        filecoin = _filecoin(document["filecoin"], origin, context) if "filecoin" in document else None
        entries = document.get("provider", [] if filecoin else None)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ConfigError(f"{origin}: expected one [[provider]] table or more")
        if not entries and filecoin is None:
            raise ConfigError(f"{origin}: expected one [[provider]] table or more")
        providers: dict[str, Provider] = {}
        for number, entry in enumerate(entries, 1):
            provider = _provider(entry, f"{origin}: {_called(number, entry)}", context)
            if provider.name in providers:
                raise ConfigError(f"{origin}: {_called(number, entry)}: name: another provider already has it")
            providers[provider.name] = provider
        return cls(format=version, providers=tuple(providers.values()), path=path, filecoin=filecoin)


def write_roster(providers: Iterable[Provider]) -> str:
    """The TOML text of a roster, without what has its default. `Roster.parse` reads back equal providers."""
    lines = [f"format = {FORMAT}"]
    for provider in providers:
        lines += ["", "[[provider]]"]
        for key, value in provider.model_dump(exclude_defaults=True).items():
            if isinstance(value, dict):
                pairs = ", ".join(f"{_quoted(path)} = {_quoted(target)}" for path, target in value.items())
                lines.append(f"{key} = {{ {pairs} }}")
            else:
                lines.append(f"{key} = {value if isinstance(value, int) else _quoted(str(value))}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _called(number: int, entry: dict[str, Any]) -> str:
    name = entry.get("name")
    return f'provider {number} ("{name[:MAX_NAME_CHARS]}")' if isinstance(name, str) else f"provider {number}"


def _provider(entry: dict[str, Any], where: str, context: dict[str, Path | None]) -> Provider:
    try:
        return Provider.model_validate(entry, context=context)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error, Provider.model_fields)}") from None


def _filecoin(table: object, origin: str, context: dict[str, Path | None]) -> Filecoin:
    try:
        return Filecoin.model_validate(table, context=context)
    except ValidationError as error:
        raise ConfigError(f"{origin}: [filecoin]: {first_problem(error, Filecoin.model_fields)}") from None


def _extra_headers(text: str) -> dict[str, str] | str:
    """The headers in a JSON object, or what is wrong with it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "expected a JSON object of headers, got something else"
    if not isinstance(found, dict):
        return "expected a JSON object of headers, got something else"
    for name, value in found.items():
        if not _HEADER_NAME.fullmatch(name):
            return "expected names of HTTP headers as keys"
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            return f"{name}: expected one line of ASCII text"
    return found
