"""The engine runs as the Redis user that config/ makes for it, and can do nothing worse."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from flashsale.embedded.binaries import find_redis_server
from flashsale.embedded.process import spawn
from flashsale.embedded.server import clean_environment
from flashsale.reconciliation.audit import audit
from flashsale.reconciliation.doctor import examine
from flashsale.reservation.inspector import LaneInspector
from flashsale.shipped import shipped
from tests.access.life import whole_life
from tests.reconciliation.scene import Scene, open_scene

ACL = shipped("config") / "redis-acl.conf"


class Users(NamedTuple):
    """A Redis that knows the users of the file: an address for each of them."""

    engine: str
    readonly: str
    operator: str


def client(url: str) -> Redis:
    return Redis.from_url(url, protocol=3, decode_responses=True, retry=Retry(NoBackoff(), 0))


@pytest.fixture(scope="module")
async def users() -> AsyncIterator[Users]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        acl = folder / "acl.conf"
        acl.write_text(ACL.read_text().replace("CHANGE-ME-", "test-"))
        (folder / "redis.conf").write_text(
            f"include {shipped('config') / 'redis.conf'}\ninclude {acl}\n"
            f"port 0\nunixsocket {folder}/redis.sock\n"
        )
        child = spawn(
            "redis with users",
            [str(find_redis_server()), str(folder / "redis.conf")],
            env=clean_environment(),
            cwd=folder,
            log_path=folder / "redis.log",
        )
        addresses = Users(
            *(
                f"unix://{user}:test-{password}@{folder}/redis.sock"
                for user, password in (
                    ("flashsale", "engine"),
                    ("flashsale_readonly", "readonly"),
                    ("operator", "operator"),
                )
            )
        )
        try:
            while not await _answers(addresses.operator):
                assert child.exit_code() is None, child.last_words()
                await asyncio.sleep(0.02)
            yield addresses
        finally:
            await child.stop()


async def _answers(url: str) -> bool:
    async with client(url) as redis:
        with contextlib.suppress(RedisConnectionError):
            return bool(await redis.ping())
    return False


@pytest.fixture
async def scene(schema, new_database, users) -> AsyncIterator[Scene]:
    async with (
        new_database(template=schema) as dsn,
        open_scene(dsn, users.engine) as scene,
    ):
        yield scene


async def test_the_engine_needs_no_more_of_redis_than_its_user_may(scene, users) -> None:
    async with client(users.operator) as operator, client(users.readonly) as readonly:
        await operator.execute_command("ACL", "LOG", "RESET")
        await whole_life(scene)
        assert (await scene.audit()).holds
        (report,) = await audit(scene.pool, LaneInspector(readonly), scene.sale.id)
        assert report.holds
        findings = await examine(users.readonly, None, connections_max=10)
        told = {finding.name for finding in findings if finding.failed}
        assert not any("edis" in name or "alkey" in name for name in told)
        assert await operator.execute_command("ACL", "LOG") == []


def test_every_command_of_every_script_is_granted() -> None:
    (line,) = [line for line in ACL.read_text().splitlines() if line.startswith("user flashsale ")]
    granted = {word[1:] for word in line.split() if word.startswith("+")}
    text = "\n".join(path.read_text() for path in sorted(shipped("lua").rglob("*.lua")))
    called = {name.lower() for name in re.findall(r"redis\.p?call\(\s*'([A-Za-z]+)'", text)}
    assert len(called) > 15
    assert {name for name in called if not any(g.split("|")[0] == name for g in granted)} == set()


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "CONFIG SET appendonly no",
        "CONFIG REWRITE",
        "ACL LIST",
        "SHUTDOWN NOSAVE",
        "SCRIPT FLUSH",
        "FUNCTION LIST",
        "MODULE LIST",
        "REPLICAOF NO ONE",
        "CLIENT LIST",
        "MONITOR",
        "PUBLISH news 1",
        "SUBSCRIBE news",
        "SAVE",
        "SET fs:{a.0}:meta 1",
        "HGET other field",
        "DEL fs:{a.0}:meta",
        "XGROUP DESTROY fs:{a.0}:events settlement",
    ],
)
async def test_what_nobody_of_the_engine_may(users, command: str) -> None:
    for url in (users.engine, users.readonly):
        async with client(url) as redis:
            with pytest.raises(NoPermissionError):
                await redis.execute_command(*command.split())


async def test_who_only_looks_changes_nothing_and_who_has_no_name_sees_nothing(users) -> None:
    async with client(users.readonly) as redis:
        for command in ("HSET fs:{a.0}:meta a 1", "XADD fs:{a.0}:events * a 1", "EVAL '' 0"):
            with pytest.raises(NoPermissionError):
                await redis.execute_command(*command.split())
    async with client(re.sub(r"//.*@", "//", users.engine)) as nobody:
        with pytest.raises(Exception, match=r"(?i)auth"):
            await nobody.ping()
