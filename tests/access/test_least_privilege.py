"""The engine runs with the rights that config/ gives it, and with those can do nothing worse."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from flashsale.auditlog.queries import verify_chains
from flashsale.domain.events import EventKind
from flashsale.domain.outcomes import Status
from flashsale.embedded.binaries import find_redis_server
from flashsale.embedded.process import spawn
from flashsale.embedded.server import clean_environment
from flashsale.reconciliation.audit import audit
from flashsale.reconciliation.doctor import examine
from flashsale.reservation.inspector import LaneInspector
from flashsale.settlement.migrate import migrate
from flashsale.shipped import shipped
from tests.reconciliation.scene import Scene, open_scene
from tests.web.house import open_house

ACL = shipped("config") / "redis-acl.conf"
ROLES = shipped("config") / "postgres-roles.sql"
SECRET_TABLES = ["engine", "merchant_buyer_keys", "api_keys"]


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


async def whole_life(scene: Scene) -> None:
    """Everything that a sale's lane goes through."""
    place = (scene.sale.id, 0, scene.sale.epoch)
    store = scene.store
    orders = [await scene.reserve(f"buyer-{number}") for number in range(5)]
    await scene.settle()
    for number in (0, 1, 2):
        paying = await store.pay(*place, orders[number], f"buyer-{number}", 60_000)
        assert paying.status is Status.PAYING
    await store.capture(*place, orders[0], "buyer-0", EventKind.PAID)
    returned = await store.return_units(*place, orders[0], "buyer-0", EventKind.REFUNDED)
    assert returned.status is Status.RETURNED
    await store.decline(*place, orders[1], "buyer-1")
    await scene.cancel(orders[3], "buyer-3")
    await scene.supply(5)
    await scene.service.pause(scene.merchant, scene.sale.id)
    await scene.service.resume(scene.merchant, scene.sale.id)
    await store.expire_due(*place, 10)
    await store.tail(*place, "-", 10)
    assert len(await store.buyers(scene.sale.id, 0)) > 0
    await store.now_ms()
    await store.server()
    await scene.settle()
    await scene.service.close(scene.merchant, scene.sale.id)
    await store.cancel_holds(*place, 10)
    await scene.settle()
    await store.trim_events(scene.sale.id, 0)


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


class Roles(NamedTuple):
    """A migrated database: its address as each role."""

    owner: str
    app: str
    readonly: str


def as_role(dsn: str, role: str) -> str:
    named = re.sub(r"([?&]user=)\w+", rf"\g<1>{role}", dsn)
    assert named != dsn or f"user={role}" in dsn, "the DSN of the tests names its user"
    return named


@pytest.fixture(scope="module")
async def roles(new_database) -> AsyncIterator[Roles]:
    async with new_database() as dsn:
        made = Roles(*(as_role(dsn, f"flashsale_{each}") for each in ("owner", "app", "readonly")))
        superuser = as_role(dsn, "postgres")
        await run(superuser, ROLES.read_text())
        await migrate(made.owner)
        await run(superuser, ROLES.read_text())
        await run(superuser, ROLES.read_text())  # and as often as one likes
        yield made


async def run(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def test_the_engine_needs_no_more_of_postgres_than_its_role_may(roles, redis_url) -> None:
    async with open_house(roles.app, redis_url) as house:
        sale = await house.sale()
        placed = await house.order(sale, "alice")
        assert placed.status == 201, placed.text
        await house.settle()
        order = placed.json["id"]
        read = await house.call("GET", f"/v1/orders/{order}", bearer=house.token("alice"))
        assert read.json["state"] == "confirmed"
        for path, value in [
            (f"/sales/{sale}/supply", {"sku": "mi3-16", "quantity": 1, "reason": "wave"}),
            (f"/sales/{sale}/pause", None),
            ("/api-keys", {"label": "till", "scope": "read"}),
            ("/buyer-keys", {"algorithm": "HS256"}),
        ]:
            assert (await house.manage("POST", path, value)).status in {200, 201}
        assert (await house.manage("GET", f"/sales/{sale}/report")).status == 200
        log = await house.manage("GET", "/audit-log")
        assert [entry["action"] for entry in log.json["items"]][:2] == [
            "create_buyer_key",
            "create_api_key",
        ]
    async with open_scene(roles.app, redis_url) as scene:
        await whole_life(scene)
        assert (await scene.audit()).holds
        async with asyncpg.create_pool(roles.readonly, min_size=2, max_size=2) as looking:
            (report,) = await audit(looking, scene.inspector, scene.sale.id)
            assert report.holds
            async with looking.acquire() as connection:
                assert all(each.holds for each in await verify_chains(connection))


APP_MAY_NOT = [
    "INSERT INTO audit_log (merchant_id, seq, entry, hash) VALUES ('m', 1, '{}', repeat('0', 64))",
    "UPDATE audit_log SET entry = '{}'",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "UPDATE audit_heads SET seq = 0",
    "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    "DROP TRIGGER noted ON sales",
    "CREATE OR REPLACE FUNCTION append_to_audit_log() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DELETE FROM ledger_entries",
    "UPDATE ledger_entries SET amount = 0",
    "UPDATE ledger_entries SET payload = '{}'",
    "DELETE FROM orders",
    "DELETE FROM payments",
    "DELETE FROM merchants",
    "UPDATE engine SET order_id_secret = order_id_secret",
    "UPDATE migrations SET sha256 = ''",
    "CREATE TABLE mine (id int)",
    "CREATE TEMP TABLE audit_log (id int)",
    "DROP TABLE orders",
    "TRUNCATE orders",
]


@pytest.mark.parametrize("statement", APP_MAY_NOT)
async def test_what_the_processes_may_not(roles, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(roles.app, statement)


@pytest.mark.parametrize(
    "statement",
    [
        *(f"SELECT * FROM {table}" for table in SECRET_TABLES),
        "SELECT secret FROM merchant_buyer_keys",
        "SELECT append_to_audit_log('m', 'me', 'lie', NULL, NULL, '{}')",
        "UPDATE orders SET state = 'paid'",
        "INSERT INTO outbox (kind, subject) VALUES ('send_refund', 'x')",
        "DELETE FROM orders",
    ],
)
async def test_what_who_only_looks_may_not(roles, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(roles.readonly, statement)
