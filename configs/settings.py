"""Settings: `defaults.toml` under the user's `config.toml`; and the folders where a user's things lie.

The environment is always an argument: nothing here reads `os.environ`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .document import first_problem, parse_document, read_document
from .errors import ConfigError
from .sizes import parse_duration, parse_size


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("expected a size in quotes or a whole number of bytes")
    try:
        return parse_size(value)
    except ConfigError as error:
        raise ValueError(f"{error.message} ({error.hint})") from error


def _duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("expected a duration in quotes or a number of seconds")
    try:
        return parse_duration(value)
    except ConfigError as error:
        raise ValueError(f"{error.message} ({error.hint})") from error


def _networks(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('expected a list of networks in quotes, such as ["10.0.0.5/32"]')
    return tuple(ip_network(item) for item in value)


Network = IPv4Network | IPv6Network
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=1)]
Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class FetchSettings(_Table):
    """Reading from many sources: threads, seconds without progress on a leaf, bytes asked for at once."""

    threads: int = Field(ge=1, le=256)
    deadline: Duration
    run_bytes: Size


class CacheSettings(_Table):
    """The cache of shards: its byte budget, and how many seconds its fetcher stays without clients."""

    max_bytes: Size
    fetcher_linger: Duration


class ServeSettings(_Table):
    """The peer: what clients may take. `min_rate` is in bytes a second; durations are in seconds."""

    max_requests: int = Field(ge=1, le=65536)
    queue: Duration
    max_requests_per_client: int = Field(ge=1, le=65536)
    max_connections: int = Field(ge=1, le=1 << 20)
    max_connections_per_client: int = Field(ge=1, le=1 << 20)
    request_head: Duration
    idle_connection: Duration
    min_rate: Size
    trusted_proxies: Networks


class Settings(_Table):
    """All settings; each table is one part of holdfast. `defaults.toml` says what each key means."""

    fetch: FetchSettings
    cache: CacheSettings
    serve: ServeSettings

    @classmethod
    def load(cls, env: Mapping[str, str]) -> Settings:
        """The defaults under the user's config.toml, if any. Raises `ConfigError` naming file and key."""
        path = config_folder(env) / "config.toml"
        return cls.parse(read_document(path), str(path)) if path.exists() else cls.defaults()

    @classmethod
    def defaults(cls) -> Settings:
        """The settings of a user who set nothing."""
        return cls.parse("", "defaults.toml")

    @classmethod
    def parse(cls, text: str, origin: str) -> Settings:
        """The defaults, changed by the TOML `text`; `origin` names it in messages."""
        defaults = resources.files(__package__).joinpath("defaults.toml").read_text("utf-8")
        merged: dict[str, Any] = parse_document(defaults, "defaults.toml")
        for table, values in parse_document(text, origin).items():
            both = isinstance(values, dict) and table in merged
            merged[table] = merged[table] | values if both else values
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            raise ConfigError(f"{origin}: {first_problem(error, _known_keys())}") from None


def _known_keys() -> set[str]:
    tables = (FetchSettings, CacheSettings, ServeSettings)
    return set(Settings.model_fields).union(*(table.model_fields for table in tables))


def data_folder(env: Mapping[str, str]) -> Path:
    """Where a user's repository lies by default: $XDG_DATA_HOME/holdfast."""
    return _user_folder(env, "XDG_DATA_HOME", ".local/share")


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where fetched shards are kept, and may be lost: $XDG_CACHE_HOME/holdfast."""
    return _user_folder(env, "XDG_CACHE_HOME", ".cache")


def config_folder(env: Mapping[str, str]) -> Path:
    """Where config.toml and roster.toml are looked for: $XDG_CONFIG_HOME/holdfast."""
    return _user_folder(env, "XDG_CONFIG_HOME", ".config")


def repo_folder(env: Mapping[str, str]) -> Path:
    """The repository that commands use without --repo: $HOLDFAST_REPO, else `repo` in the data folder."""
    return Path(env["HOLDFAST_REPO"]) if env.get("HOLDFAST_REPO") else data_folder(env) / "repo"


def default_roster(env: Mapping[str, str]) -> Path | None:
    """$HOLDFAST_ROSTER (which need not exist: reading it will say so), else the user's roster.toml if any."""
    if env.get("HOLDFAST_ROSTER"):
        return Path(env["HOLDFAST_ROSTER"])
    path = config_folder(env) / "roster.toml"
    return path if path.exists() else None


def _user_folder(env: Mapping[str, str], variable: str, below_home: str) -> Path:
    # The XDG base directory specification: a relative path in these variables is invalid and ignored.
    base = Path(env.get(variable, ""))
    if not base.is_absolute():
        if not Path(env.get("HOME", "")).is_absolute():
            raise ConfigError(f"neither {variable} nor HOME names a folder", hint=f"set {variable} to a folder")
        base = Path(env["HOME"]) / below_home
    return base / "holdfast"
