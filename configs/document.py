"""Reading a TOML document and saying in one sentence what is wrong with it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import ConfigError

MAX_DOCUMENT_BYTES = 4 << 20
_MAX_KEY_PARTS = 64
# tomllib keeps every beginning of a dotted key: 64 KiB of `a.a.a…` took 4 GiB
_LONG_KEY = re.compile(
    r"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)""" + f"{{{_MAX_KEY_PARTS}}}", re.ASCII
)

_EXPECTED = {
    "string_type": "a text in quotes",
    "int_type": "a whole number",
    "dict_type": "a table",
    "model_type": "a table",
}


def read_document(path: Path) -> str:
    """The text of a file. Raises `ConfigError` when it is missing, unreadable, above 4 MiB or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ConfigError(f"{path}: cannot be read ({reason})") from error
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ConfigError(f"{path}: expected at most {MAX_DOCUMENT_BYTES} bytes, got more")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, byte {error.start} is not") from error


def parse_document(text: str, origin: str) -> dict[str, Any]:
    """The tables of TOML text. Raises `ConfigError` with the line of a syntax error."""
    if _LONG_KEY.search(text):
        raise ConfigError(f"{origin}: a key has more than {_MAX_KEY_PARTS} parts with dots between them")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{origin}: lists or tables lie too deep within each other") from error
    except ValueError as error:  # a syntax error, or a number of thousands of digits
        raise ConfigError(f"{origin}: not valid TOML: {error}") from error


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key that nothing reads, with the nearest known one."""
    near = difflib.get_close_matches(key, list(known), 1)
    return f'unknown key "{key[:80]}"' + (f" (did you mean {near[0]}?)" if near else "")


def first_problem(error: ValidationError, known: Iterable[str]) -> str:
    """One sentence for the first problem of a model: key, what is expected, what came.

    Values are shown by type only, unless a validator of ours chose to: a misplaced one may be a secret.
    """
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    context = problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            *tables, key = (str(part) for part in problem["loc"])
            return f"{'.'.join(tables)}: {unknown_key(key, known)}" if tables else unknown_key(key, known)
        case "missing":
            return f"{where}: missing"
        case "literal_error":
            got = f', got "{problem["input"][:40]}"' if isinstance(problem["input"], str) else ""
            return f"{where}: expected {context['expected']}{got}"
        case "value_error":
            said = str(context["error"])
        case kind if kind in _EXPECTED:
            said = f"expected {_EXPECTED[kind]}, got {_kind_of(problem['input'])}"
        case _:
            said = f"expected a value {problem['msg'].removeprefix('Input should be ')}"
    return f"{where}: {said}" if where else said


def _kind_of(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return type(value).__name__
