"""A Postgres and its standby, made with the commands that docs/recovery.md names."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from flashsale.embedded.binaries import find_postgres_bin_dir
from flashsale.embedded.postgres_server import PORT, PostgresServer
from flashsale.embedded.process import Child
from flashsale.embedded.server import clean_environment, start
from flashsale.settlement.migrate import migrate

_SYNCHRONOUS = "SELECT sync_state = 'sync' FROM pg_stat_replication"
_CAUGHT_UP = "SELECT flush_lsn >= pg_current_wal_flush_lsn() FROM pg_stat_replication"
_WAITING = "SELECT true FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1"
_MEMORY_MIN = 2 << 30
_NAME = "synchronous_standby_names"


@dataclass
class Pair:
    """Both servers; `primary` and `standby` stay what they were at first, whoever leads."""

    primary: PostgresServer
    standby: PostgresServer
    _children: dict[PostgresServer, Child] = field(default_factory=dict)

    async def start_primary(self) -> None:
        self.primary.prepare()
        self._children[self.primary] = await start(self.primary)
        await migrate(self.primary.dsn)
        await self.ask(self.primary, "CREATE ROLE replicator LOGIN REPLICATION")

    def copy(self) -> None:
        """`pg_basebackup`, as the account that the primary's data belongs to."""
        program = find_postgres_bin_dir() / "pg_basebackup"
        assert program.is_file(), f"a takeover cannot be rehearsed: there is no {program}"
        owner = self.primary.data_dir.stat()
        self.standby.data_dir.mkdir(mode=0o700)
        os.chown(self.standby.data_dir, owner.st_uid, owner.st_gid)
        source = f"host={self.primary.socket_dir} port={PORT} user=replicator"
        ran = subprocess.run(
            [
                str(program),
                f"--pgdata={self.standby.data_dir}",
                "--write-recovery-conf",
                "--wal-method=stream",
                "--checkpoint=fast",
                "--create-slot",
                "--slot=flashsale_standby",
                f"--dbname={source} application_name=standby",
            ],
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
            cwd="/",
            user=owner.st_uid if os.geteuid() == 0 else None,
            group=owner.st_gid if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
        )
        assert ran.returncode == 0, ran.stdout
        self.standby.prepare()

    async def start_standby(self) -> None:
        """Start it, and wait until it answers: its pid file never says "ready"."""
        child = self._children[self.standby] = self.standby.spawn()
        while not await self._answers(self.standby):
            assert child.exit_code() is None, child.last_words()
            await asyncio.sleep(0.01)

    async def wait_for_standby(self) -> None:
        """Let nothing be committed that the standby has not on disk."""
        await self.ask(self.primary, f"ALTER SYSTEM SET {_NAME} = 'standby'")
        await self.ask(self.primary, "SELECT pg_reload_conf()")
        await self._until(_SYNCHRONOUS)

    async def caught_up(self) -> None:
        await self._until(_CAUGHT_UP)

    async def somebody_waits_for_standby(self) -> None:
        await self._until(_WAITING)

    async def kill(self, server: PostgresServer) -> None:
        """What a machine's end is: nothing is flushed, and nothing more is sent."""
        await self._children.pop(server).stop(signal.SIGQUIT)

    async def promote(self) -> None:
        assert await self.ask(self.standby, f"SHOW {_NAME}") == ""  # else it would wait for ever
        assert await self.ask(self.standby, "SELECT pg_promote()")

    async def ask(self, server: PostgresServer, sql: str) -> object:
        connection = await asyncpg.connect(server.dsn.replace("user=flashsale", "user=postgres"))
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    async def stop(self) -> None:
        for server in list(self._children):
            await self.kill(server)

    async def _answers(self, server: PostgresServer) -> bool:
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            return bool(await self.ask(server, "SELECT true"))
        return False

    async def _until(self, sql: str) -> None:
        while not await self.ask(self.primary, sql):
            await asyncio.sleep(0.01)


def _place() -> str:
    """A folder that every account reaches, with a short name for sockets; memory if it suffices.

    No machine loses its power here, so nothing is proven by waiting for a disk.
    """
    memory = Path("/dev/shm")
    enough = memory.is_dir() and shutil.disk_usage(memory).free > _MEMORY_MIN
    return str(memory) if enough and os.access(memory, os.W_OK) else "/tmp"


@contextlib.contextmanager
def _servers() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(dir=_place(), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        nobodys = os.open(folder, os.O_RDONLY)
        try:
            yield Pair(
                *(
                    PostgresServer(
                        folder / each,
                        folder / f"{each}.run",
                        folder / f"{each}.log",
                        nobodys,
                        "strict",
                    )
                    for each in ("primary", "standby")
                )
            )
        finally:
            os.close(nobodys)


@contextlib.asynccontextmanager
async def open_pair() -> AsyncIterator[Pair]:
    """A primary with this version's schema, and a standby that follows it."""
    with _servers() as pair:
        try:
            await pair.start_primary()
            pair.copy()
            await pair.start_standby()
            yield pair
        finally:
            await pair.stop()
