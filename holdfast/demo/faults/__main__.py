"""`python -m holdfast.demo.faults FOLDER|URL`: a fault server as a process. The first line says where: {"url": …}."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from dataclasses import fields
from pathlib import Path

from ...configs.errors import ConfigError
from ...configs.sizes import parse_duration, parse_size
from .behaviour import VARIANTS, Behaviour
from .server import FaultServer, origin_of


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the last line says what was done."""
    options = _parser().parse_args(arguments)
    try:
        behaviour = _behaviour(options)
        rate = None if options.rate is None else parse_size(options.rate.removesuffix("/s"))
        delay_s = parse_duration(options.delay)
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    origin = origin_of(options.origin)
    if isinstance(origin, Path) and not origin.is_dir():
        sys.stderr.write(f"{origin} is no folder\n")
        return 2
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with FaultServer(origin, *([behaviour] if behaviour else []), rate_bytes_s=rate, delay_s=delay_s) as server:
        sys.stdout.write(json.dumps({"url": server.url}) + "\n")
        sys.stdout.flush()
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m holdfast.demo.faults", description="Serve a folder, or what another server has, with faults."
    )
    parser.add_argument("origin", metavar="FOLDER|URL")
    parser.add_argument("--rate", help="over all connections together: 50MB/s")
    parser.add_argument("--delay", default="0s", help="before each answer: 50ms")
    parser.add_argument("--verdict", choices=tuple(VARIANTS), help="what a reader should find")
    known = "; ".join(f"{verdict}: {', '.join(variants)}" for verdict, variants in VARIANTS.items())
    parser.add_argument("--variant", help=f"in which way. {known}")
    parser.add_argument("--paths", help="glob of the paths that are answered so (default: *)")
    parser.add_argument("--share", type=float, help="share of their requests, 0 to 1")
    parser.add_argument("--first", type=int, help="number of the first request that is answered so")
    parser.add_argument("--last", type=int, help="number of the first request that is no longer answered so")
    parser.add_argument("--seed", type=int, help="of the share")
    parser.add_argument("--at", type=int, help="byte of the body: flipped, or the end of what is sent")
    parser.add_argument("--unit", type=int, help="bytes that are swapped, or shifted by")
    parser.add_argument("--extra", type=int, help="bytes too many")
    parser.add_argument("--drip-s", type=float, help="seconds between bytes")
    parser.add_argument("--retry-after", help="the header, with 429 and 503")
    parser.add_argument("--location", help="where `redirect` leads")
    return parser


def _behaviour(options: argparse.Namespace) -> Behaviour | None:
    if options.verdict is None:
        return None
    given = {field.name: getattr(options, field.name) for field in fields(Behaviour)}
    return Behaviour(**{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    sys.exit(main())
