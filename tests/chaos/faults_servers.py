"""Faults of the two servers: their disks, their memory, their connections, their contents."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.chaos.world import World

_CONNECTIONS_MAX = 120
_PG_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@contextlib.asynccontextmanager
async def plain_redis(world: World):
    """The server itself, past the proxy, asked by plain commands."""
    client = Redis.from_url(
        world.redis_url, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=5
    )
    try:
        yield client
    finally:
        await client.aclose()


async def cut_aof_tail(world: World, args: dict[str, Any]) -> str:
    """Power fails and takes the end of the append-only file along, which a disk had promised."""
    async with world.guard("redis"), world.kept["redis"].held():
        file = max(world.redis_data.glob("appendonlydir/*.incr.aof"))
        size = file.stat().st_size
        left = max(0, size - args["bytes"])
        with file.open("r+b") as aof:
            aof.truncate(left)
    return f"{size - left} of {size} bytes"


async def flush_redis(world: World, _: dict[str, Any]) -> str:
    """Somebody removes everything from a Redis that goes on."""
    async with plain_redis(world) as redis:
        await redis.flushall()
    return ""


async def empty_redis(world: World, _: dict[str, Any]) -> str:
    """The disk of Redis is new."""
    async with world.guard("redis"), world.kept["redis"].held():
        _wipe(world.redis_data)
    return ""


async def put_old_aof_back(world: World, args: dict[str, Any]) -> str:
    """Somebody restores a backup of a while ago."""
    async with world.guard("redis"):
        backup = world.folder / "backup"
        shutil.rmtree(backup, ignore_errors=True)
        async with world.kept["redis"].held():
            shutil.copytree(world.redis_data, backup)
        await asyncio.sleep(args["ms"] / 1000)
        async with world.kept["redis"].held():
            _wipe(world.redis_data)
            shutil.copytree(backup, world.redis_data, dirs_exist_ok=True)
    return f"{args['ms']} ms are gone"


def _wipe(folder: Path) -> None:
    for each in folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()


async def crash_in_recovery(world: World, _: dict[str, Any]) -> str:
    """Redis is emptied, and whoever rebuilds it dies in the middle."""
    trigger = world.trigger("mid_recovery")
    trigger.touch()
    try:
        await empty_redis(world, {})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while trigger.exists():
                    await asyncio.sleep(0.02)
        return "nobody came by" if trigger.exists() else "crashed"
    finally:
        trigger.unlink(missing_ok=True)


async def out_of_memory(world: World, args: dict[str, Any]) -> str:
    """Redis has no memory left: writers are refused, releases are not."""
    async with world.guard("redis"), plain_redis(world) as redis:
        await redis.config_set("maxmemory", "1mb")
        try:
            await asyncio.sleep(args["ms"] / 1000)
        finally:
            await redis.config_set("maxmemory", "0")
    return ""


async def redis_disk_full(world: World, args: dict[str, Any]) -> str:
    """No byte more fits on the disk of Redis for a while.

    The limit of a file's size stands for it: the last write is cut short and the server ends, as
    one that must sync every write does on a full disk.
    """
    async with world.guard("redis"):
        kept = world.kept["redis"]
        file = max(world.redis_data.glob("appendonlydir/*.incr.aof"))
        assert kept.child is not None
        died = kept.starts
        unlimited = resource.RLIM_INFINITY
        with contextlib.suppress(ProcessLookupError):
            limits = (file.stat().st_size, unlimited)
            resource.prlimit(kept.child.pid, resource.RLIMIT_FSIZE, limits)
        await asyncio.sleep(args["ms"] / 1000)
        if kept.starts == died and kept.child.exit_code() is None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(kept.child.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
            return "nothing was written"
        await kept.is_up()
    return "it ended"


async def postgres_disk_full(world: World, _: dict[str, Any]) -> str:
    """No byte more fits on the disk of Postgres: the log cannot be written, and it panics."""
    child = world.kept["postgres"].child
    if child is None:
        return "it was down"
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    limited = [await _limit_files(pid, "0") for pid in children]
    await asyncio.sleep(1)
    for pid in children:
        await _limit_files(pid, "unlimited")
    return f"{sum(limited)} processes" if any(limited) else "none could be limited"


async def _limit_files(pid: str, size: str) -> bool:
    """Let a process write files of that size only; asked for by its owner, as it has to be."""
    try:
        owner = Path(f"/proc/{pid}").stat()
    except FileNotFoundError:
        return False
    identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    process = await asyncio.create_subprocess_exec(
        *("prlimit", f"--fsize={size}:unlimited", "--pid", pid),
        stderr=asyncio.subprocess.DEVNULL,
        **(identity if os.geteuid() == 0 else {}),
    )
    return await process.wait() == 0


async def postgres_down(world: World, args: dict[str, Any]) -> str:
    """Postgres is away for longer than anybody waits."""
    async with world.guard("postgres"), world.kept["postgres"].held():
        await asyncio.sleep(args["ms"] / 1000)
    return ""


async def take_connections(dsn: str, ms: int) -> str:
    """Take every connection there is, and hold them."""
    taken: list[asyncpg.Connection] = []
    try:
        with contextlib.suppress(*_PG_ERRORS):
            while len(taken) < _CONNECTIONS_MAX:
                taken.append(await asyncpg.connect(dsn, timeout=3))
        await asyncio.sleep(ms / 1000)
    finally:
        for each in taken:
            each.terminate()
    return f"{len(taken)} connections"


async def poison_entry(world: World, _: dict[str, Any]) -> str:
    """Somebody writes what is no entry of ours into the stream."""
    async with plain_redis(world) as redis:
        keys = [key async for key in redis.scan_iter(match="fs:*:events")]
        for key in keys:
            await redis.xadd(key, {"seq": "nonsense", "\x00": "\ufffd"})
    return f"{len(keys)} streams"


async def script_flush(world: World, _: dict[str, Any]) -> str:
    """Redis forgets every script."""
    async with plain_redis(world) as redis:
        await redis.script_flush()
    return ""
