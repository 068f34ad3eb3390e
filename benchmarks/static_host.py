"""`python -m benchmarks.static_host FOLDER`: serve a folder; the first line says where, as `holdfast serve --json`."""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web


async def _serve(folder: str) -> None:
    application = web.Application()
    application.router.add_static("/", folder)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"url": f"http://{host}:{port}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
