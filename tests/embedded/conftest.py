"""Supervisors in processes of their own, so that they can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

SCRIPT = Path(__file__).with_name("supervisor.py")
REPOSITORY = Path(__file__).parents[2]
OVERRIDES = ("FLASHSALE_REDIS_BINARY", "FLASHSALE_POSTGRES_BIN_DIR", "PATH")


@dataclass
class Supervisor:
    """One running supervisor and what it said about itself."""

    process: subprocess.Popen[str]
    redis_url: str = ""
    postgres_dsn: str = ""
    pids: dict[str, int] | None = None
    uid: int = -1

    def read_report(self) -> None:
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        for name, value in json.loads(line).items():
            setattr(self, name, value)

    def signal_group(self, number: int) -> None:
        """What a terminal, or a merciless operator, does to the supervisor's process group."""
        os.killpg(self.process.pid, number)
        self.process.communicate()

    async def write(self, value: int) -> None:
        async with Redis.from_url(self.redis_url) as client:
            await client.set("kept", value)
        connection = await asyncpg.connect(self.postgres_dsn)
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value integer)")
        await connection.execute("TRUNCATE kept")
        await connection.execute("INSERT INTO kept VALUES ($1)", value)
        await connection.close()

    async def read(self) -> tuple[int, int]:
        async with Redis.from_url(self.redis_url) as client:
            in_redis = int(await client.get("kept"))
        connection = await asyncpg.connect(self.postgres_dsn)
        in_postgres = await connection.fetchval("SELECT value FROM kept")
        await connection.close()
        return in_redis, in_postgres

    async def servers_gone(self) -> None:
        """Wait until no server process is left; the test's own limit is the patience."""
        async with asyncio.timeout(30):
            while any(is_running(pid) for pid in self.pids.values()):
                await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether a process lives: a zombie, which only init may reap, does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


Supervise = Callable[..., Supervisor]


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    """`supervise(data_dir)` starts one, by default as we are; all are stopped afterwards."""
    running: list[Supervisor] = []

    def run(
        data_dir: Path,
        *arguments: str,
        python: str = sys.executable,
        source: Path = REPOSITORY,
        uid: int | None = None,
        ready: bool = True,
    ) -> Supervisor:
        environment = {name: os.environ[name] for name in OVERRIDES if name in os.environ}
        process = subprocess.Popen(
            [python, str(source / SCRIPT.relative_to(REPOSITORY)), str(data_dir), *arguments],
            env={**environment, "PYTHONPATH": str(source), "HOME": str(data_dir.parent)},
            cwd="/",
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        supervisor = Supervisor(process)
        running.append(supervisor)
        if ready:
            supervisor.read_report()
        return supervisor

    yield run
    for supervisor in running:
        with contextlib.suppress(ProcessLookupError):
            supervisor.signal_group(signal.SIGINT)
