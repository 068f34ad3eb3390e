"""`python -m soak.static_host FOLDER PORT [--lie SHARE --seed N --told FILE] [--rate BYTES]`: a plain host with Range.

It may lie (one flipped bit in a share of its answers, a byte appended to `--told` for each) or be slow. The first line
says where it is, as `holdfast serve --json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
from pathlib import Path

from aiohttp import web

_PIECE_S = 0.1


def _body(request: web.Request, folder: Path) -> tuple[int, bytes, dict[str, str]]:
    path = folder / request.match_info["path"]
    if not path.resolve().is_relative_to(folder) or not path.is_file():
        return 404, b"", {}
    size = path.stat().st_size
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    with path.open("rb") as file:
        if not match:
            return 200, file.read(), {}
        start, end = int(match[1]), min(int(match[2] or size - 1), size - 1)
        file.seek(start)
        return 206, file.read(end - start + 1), {"Content-Range": f"bytes {start}-{end}/{size}"}


async def _serve(options: argparse.Namespace) -> None:
    numbers = random.Random(options.seed)
    folder = options.folder.resolve()

    async def answer(request: web.Request) -> web.StreamResponse:
        status, body, headers = _body(request, folder)
        if body and numbers.random() < options.lie:
            flipped = bytearray(body)
            flipped[numbers.randrange(len(body))] ^= 1 << numbers.randrange(8)
            body = bytes(flipped)
            with options.told.open("ab") as told:
                told.write(b".")
        if not options.rate:
            return web.Response(status=status, body=body, headers=headers)
        response = web.StreamResponse(status=status, headers=headers | {"Content-Length": str(len(body))})
        await response.prepare(request)
        piece = max(int(options.rate * _PIECE_S), 1)
        for at in range(0, len(body), piece):
            await response.write(body[at : at + piece])
            await asyncio.sleep(_PIECE_S)  # this is the rate, not a wait for something
        return response

    application = web.Application()
    application.add_routes([web.get("/{path:.*}", answer)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--lie", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--told", type=Path, default=Path("/dev/null"))
    parser.add_argument("--rate", type=int, default=0)
    asyncio.run(_serve(parser.parse_args()))
