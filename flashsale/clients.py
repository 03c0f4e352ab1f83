"""Clients and pools out of settings; nothing is connected at import, everything is closed again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from flashsale.auditlog.queries import carry_act
from flashsale.config import Settings
from flashsale.reservation.inspector import LaneInspector
from flashsale.reservation.links import Admit
from flashsale.reservation.scripts import load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.settlement.migrate import schema_is_current
from flashsale.shipped import shipped

CONNECT_SECONDS_MAX = 10.0
WAIT_AGAIN_SECONDS = 0.1
REDIS_CONNECTIONS_MAX = 1000  # more than anything here opens; redis-py raises above it
#: A launch fills empty tables within seconds. A plan that a session keeps from when they were small
#: would go on reading them whole, until Postgres has looked at the tables again a minute later.
_FOR_GROWING_TABLES = {"enable_seqscan": "off", "jit": "off"}
_REDIS_FORM = "redis://:PASSWORD@HOST:PORT/NUMBER"
_POSTGRES_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_POSTGRES_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


class StartError(Exception):
    """A process cannot start; one line that says what to do."""


class UnreachableError(StartError):
    """A server does not answer, or not to us."""


@contextlib.asynccontextmanager
async def redis_client(settings: Settings, *, block_ms: int = 0) -> AsyncIterator[Redis]:
    """A Redis client that sends nothing twice. StartError where nothing answers."""
    url = _required(settings, "redis_url")
    patience_seconds = settings.reservation.redis_timeout_ms / 1000
    try:
        client = Redis.from_url(
            url,
            protocol=3,
            decode_responses=True,
            # What was lost may have taken effect: only a buyer's key may repeat it.
            retry=Retry(NoBackoff(), 0),
            socket_timeout=patience_seconds + block_ms / 1000,
            socket_connect_timeout=patience_seconds,
            max_connections=REDIS_CONNECTIONS_MAX,
        )
    except ValueError:
        raise _unreadable("FLASHSALE_REDIS_URL", _REDIS_FORM) from None
    async with contextlib.aclosing(client):
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            raise UnreachableError(
                f"Redis cannot be reached ({brief(error)}): check FLASHSALE_REDIS_URL."
            ) from None
        except TypeError:  # an option in the URL that a connection does not take
            raise _unreadable("FLASHSALE_REDIS_URL", _REDIS_FORM) from None
        yield client


@contextlib.asynccontextmanager
async def postgres_pool(
    settings: Settings,
    connections_max: int,
    *,
    check_schema: bool = True,
    server_settings: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    """A pool of Postgres connections. StartError where nothing answers or the schema is old."""
    dsn = _required(settings, "postgres_dsn")
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=connections_max,
            timeout=CONNECT_SECONDS_MAX,
            setup=carry_act,
            server_settings={
                "application_name": "flashsale",
                **_FOR_GROWING_TABLES,
                **server_settings,
            },
        )
    except _POSTGRES_ERRORS as error:
        raise UnreachableError(
            f"Postgres cannot be reached ({brief(error)}): check FLASHSALE_POSTGRES_DSN."
        ) from None
    except ValueError:
        raise _unreadable("FLASHSALE_POSTGRES_DSN", _POSTGRES_FORM) from None
    try:
        if check_schema:
            async with pool.acquire() as connection:
                if not await schema_is_current(connection):
                    raise StartError("The schema is not this version's: run `flashsale migrate`.")
        yield pool
    finally:
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                await pool.close()
        except TimeoutError:
            pool.terminate()


async def servers_answer(settings: Settings, wait_seconds: float) -> None:
    """Return once both servers take connections; UnreachableError where that takes too long.

    A server that was killed reads its log first: whoever is started meanwhile waits for it rather
    than being started again and again.
    """
    clock = asyncio.get_running_loop().time
    gives_up = clock() + wait_seconds
    while True:
        try:
            async with redis_client(settings), postgres_pool(settings, 1, check_schema=False):
                return
        except UnreachableError:
            if clock() >= gives_up:
                raise
        await asyncio.sleep(WAIT_AGAIN_SECONDS)


def _required(settings: Settings, name: str) -> str:
    secret = getattr(settings, name)
    if secret is None:
        variable = f"FLASHSALE_{name.upper()}"
        raise StartError(f"No servers are named: set {variable}, or give --data-dir.")
    return str(secret.get_secret_value())


def _unreadable(variable: str, form: str) -> StartError:
    """Says nothing of what was read: of a password with a slash in it, that would be a part."""
    return StartError(
        f"{variable} cannot be read: write it as {form}, other characters in a password as %XX."
    )


def brief(error: BaseException) -> str:
    """What went wrong, on one line."""
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


@contextlib.asynccontextmanager
async def reservation_store(
    settings: Settings, admit: Admit | None = None
) -> AsyncIterator[ReservationStore]:
    """The store; `admit` is told the run id of a server before it is used."""
    async with redis_client(settings) as redis:
        store = ReservationStore(
            redis,
            load_scripts(shipped("lua")),
            links_max=settings.reservation.redis_connections_max,
            timeout_ms=settings.reservation.redis_timeout_ms,
            admit=admit,
        )
        try:
            yield store
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def lane_inspector(settings: Settings) -> AsyncIterator[LaneInspector]:
    """What audits read Redis with."""
    async with redis_client(settings) as redis:
        yield LaneInspector(redis)
