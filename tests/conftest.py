"""Real servers for every test: private bundled ones, or those given in the environment.

FLASHSALE_TEST_REDIS_URL       use this Redis; only its database 15 is touched
FLASHSALE_TEST_POSTGRES_DSN    use this Postgres; the role must be allowed to create databases
FLASHSALE_REDIS_BINARY         run the private Redis from this program
FLASHSALE_POSTGRES_BIN_DIR     run the private Postgres from the programs in this folder
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest
from hypothesis import settings
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.embedded.servers import Servers, resolve_servers
from flashsale.settlement.migrate import migrate

# No test judges time, and a failing example can be had again from what is printed.
settings.register_profile("flashsale", deadline=None, print_blob=True)
settings.load_profile("flashsale")

GIVEN_REDIS_URL = os.environ.get("FLASHSALE_TEST_REDIS_URL")
GIVEN_POSTGRES_DSN = os.environ.get("FLASHSALE_TEST_POSTGRES_DSN")

NewDatabase = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Both servers, for the whole session."""
    data_dir = tmp_path_factory.mktemp("servers")
    async with resolve_servers(GIVEN_REDIS_URL, GIVEN_POSTGRES_DSN, data_dir) as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    """Database 0 of the private Redis, or database 15 of a given one."""
    if GIVEN_REDIS_URL is None:
        return servers.redis_url
    address, _, query = servers.redis_url.partition("?")
    others = [part for part in query.split("&") if part and not part.startswith("db=")]
    return f"{address}?{'&'.join([*others, 'db=15'])}"


@pytest.fixture
async def redis_db(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis, which never sends anything twice."""
    client = Redis.from_url(redis_url, protocol=3, retry=Retry(NoBackoff(), 0))
    await (client.flushall() if GIVEN_REDIS_URL is None else client.flushdb())
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def new_database(servers: Servers) -> NewDatabase:
    """`async with new_database() as dsn`: a database of its own, dropped afterwards.

    `new_database(template=dsn)` copies another one, to which nobody may be connected: migrate a
    template once and copy it for every test.
    """

    @contextlib.asynccontextmanager
    async def create(template: str | None = None) -> AsyncIterator[str]:
        name = f"flashsale_test_{secrets.token_hex(8)}"
        source = "template0" if template is None else _database_name(template)
        connection = await asyncpg.connect(servers.postgres_dsn)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {source}")
            try:
                yield re.sub(r"^(\w+://[^/?]*)(/[^?]*)?", rf"\g<1>/{name}", servers.postgres_dsn)
            finally:
                await _drop(connection, name)
        finally:
            await connection.close()

    return create


async def _drop(connection: asyncpg.Connection, name: str) -> None:
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    except asyncpg.InsufficientPrivilegeError:
        # Autovacuum is at work there: only a superuser may end it by force, though it gives way
        # to a drop that uses none, which also waits for connections that are being closed.
        await connection.execute(f"DROP DATABASE {name}")


def _database_name(dsn: str) -> str:
    named = re.match(r"^\w+://[^/?]*/([^?]+)", dsn)
    assert named is not None, "the DSN of a template names its database"
    return named[1]


@pytest.fixture(scope="session")
async def postgres_dsn(new_database: NewDatabase) -> AsyncIterator[str]:
    """An empty database that the tests of one session share."""
    async with new_database() as dsn:
        yield dsn


@pytest.fixture
async def fresh_database(new_database: NewDatabase) -> AsyncIterator[str]:
    """The DSN of an empty database for one test."""
    async with new_database() as dsn:
        yield dsn


@pytest.fixture(scope="session")
async def schema(new_database: NewDatabase) -> AsyncIterator[str]:
    """A database that is migrated once, to be copied by whoever needs one with the schema."""
    async with new_database() as dsn:
        await migrate(dsn)
        yield dsn
