"""What a pinning service answers, as typed values: bounded JSON in, `Pin` out."""

from __future__ import annotations

import json

from ..cid import CID
from ..errors import FormatError, WrongBytesError
from ..printable import printable
from .pin import Pin, Status, parse_time

_MAX_TEXT = 2000


def read_json(body: bytes) -> dict[str, object]:
    """The JSON object of an answer. Raises `WrongBytesError`."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WrongBytesError("the answer is not JSON") from error
    if not isinstance(found, dict):
        raise WrongBytesError("the answer is not a JSON object")
    return found


def read_pin(answer: object) -> Pin:
    """A PinStatus object. Raises `WrongBytesError` naming the field that is wrong."""
    if not isinstance(answer, dict):
        raise WrongBytesError("a pin status is not a JSON object")
    about = answer.get("pin")
    if not isinstance(about, dict):
        raise WrongBytesError('a pin status has no "pin"')
    field = "requestid"
    try:
        requestid = _text(answer["requestid"])
        field = "status"
        status = Status(_text(answer["status"]))
        field = "created"
        created = parse_time(_text(answer["created"]))
        field = "pin.cid"
        cid = CID.parse(_text(about["cid"]))
    except (KeyError, ValueError, TypeError, OverflowError, FormatError) as error:
        raise WrongBytesError(f'the "{field}" of a pin status is missing or malformed') from error
    name, origins, info = about.get("name"), about.get("origins"), answer.get("info")
    return Pin(
        requestid,
        cid,
        printable(name, _MAX_TEXT) if isinstance(name, str) else "",
        status,
        created,
        tuple(str(origin) for origin in origins) if isinstance(origins, list) else (),
        {printable(str(key)): printable(str(value), _MAX_TEXT) for key, value in info.items()}
        if isinstance(info, dict)
        else {},
    )


def read_reason(body: bytes) -> str:
    """The service's own words for a refusal, as one printable line; "" when it gave none."""
    try:
        error = read_json(body).get("error")
    except WrongBytesError:
        return ""
    if not isinstance(error, dict):
        return ""
    words = str(error.get("details") or error.get("reason") or "")
    return printable(words, 200)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError("not a text")
    return value
