"""Runs the bundled servers until it is stopped; says where they are whenever that changes.

supervisor.py DATA_DIR [REDIS_CONFIG]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

from flashsale.embedded.errors import EmbeddedError
from flashsale.embedded.servers import Servers, bundled_servers


def report(servers: Servers) -> None:
    known = {
        "redis_url": servers.redis_url,
        "postgres_dsn": servers.postgres_dsn,
        "pids": dict(servers.pids),
        "uid": os.geteuid(),
    }
    sys.stdout.write(json.dumps(known) + "\n")
    sys.stdout.flush()


async def main() -> None:
    config = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    running: list[Servers] = []

    def tell() -> None:
        for servers in running:
            report(servers)

    async with bundled_servers(Path(sys.argv[1]), redis_config=config, on_change=tell) as servers:
        running.append(servers)
        tell()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(main())
        except EmbeddedError as error:
            sys.exit(str(error))
