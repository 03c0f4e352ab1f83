"""The engine runs as the Postgres role that config/ makes for it, and can do nothing worse."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from flashsale.auditlog.queries import verify_chains
from flashsale.embedded.servers import resolve_servers
from flashsale.reconciliation.audit import audit
from flashsale.settlement.migrate import migrate
from flashsale.shipped import shipped
from tests.access.life import whole_life
from tests.reconciliation.scene import open_scene
from tests.web.house import open_house

ROLES = shipped("config") / "postgres-roles.sql"
SECRET_TABLES = ["engine", "merchant_buyer_keys", "api_keys"]


class Roles(NamedTuple):
    """A migrated database: its address as each role."""

    owner: str
    app: str
    readonly: str


def as_role(dsn: str, role: str) -> str:
    named = re.sub(r"([?&]user=)\w+", rf"\g<1>{role}", dsn)
    assert named != dsn or f"user={role}" in dsn, "the DSN of the tests names its user"
    return named


@contextlib.asynccontextmanager
async def database(new_database, folder: Path) -> AsyncIterator[str]:
    """One in which roles may be made: on a given server the tests are no superuser."""
    if os.environ.get("FLASHSALE_TEST_POSTGRES_DSN") is None:
        async with new_database() as dsn:
            yield dsn
    else:
        async with resolve_servers(None, None, folder) as own:
            yield own.postgres_dsn


@pytest.fixture(scope="module")
async def roles(new_database, tmp_path_factory) -> AsyncIterator[Roles]:
    async with database(new_database, tmp_path_factory.mktemp("own")) as dsn:
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
