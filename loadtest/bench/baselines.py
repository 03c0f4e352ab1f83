"""The baselines, each an aiohttp app as one would write it first.

bare     parses a JSON POST and answers JSON; nothing else
evalsha  one EVALSHA a request through redis-py: limit, stock, hold and event, no group commit
hotrow   one Postgres transaction a request that updates the one stock row
"""

from __future__ import annotations

import argparse
import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import uvloop
from aiohttp import web
from redis.asyncio import Redis

REDIS = web.AppKey("REDIS", Redis)
POOL = web.AppKey("POOL", asyncpg.Pool)
SCRIPT = web.AppKey("SCRIPT", str)

#: What a careful team writes first: one buyer, one call, everything checked.
EVALSHA = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 'REPLAYED' end
if tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or 0) + 1 > 2 then return 'LIMIT' end
if tonumber(redis.call('GET', KEYS[3]) or 0) < 1 then return 'SOLD_OUT' end
redis.call('DECR', KEYS[3])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
redis.call('XADD', KEYS[4], '*', 'order', ARGV[1], 'buyer', ARGV[2])
return 'RESERVED'
"""


async def bare(request: web.Request) -> web.Response:
    """Parse and answer."""
    body = await request.json()
    return web.json_response(
        {"id": "0", "sku": body["sku"], "quantity": body["quantity"], "state": "reserved"},
        status=201,
    )


async def evalsha(request: web.Request) -> web.Response:
    """Ask Redis once for this request alone."""
    body = await request.json()
    order = uuid.uuid4().hex
    # The caller's token stands for the buyer: it is new for each request.
    buyer = request.headers["Authorization"][-24:]
    keys = ("{b}:holds", "{b}:buyers", "{b}:stock", "{b}:events")
    said = await request.app[REDIS].evalsha(request.app[SCRIPT], len(keys), *keys, order, buyer)
    status = 201 if said == "RESERVED" else 409
    return web.json_response({"id": order, "sku": body["sku"], "state": said}, status=status)


async def hotrow(request: web.Request) -> web.Response:
    """One transaction: take a unit off the one row, write the order."""
    body = await request.json()
    order = uuid.uuid4().hex
    buyer = request.headers["Authorization"][-24:]
    async with request.app[POOL].acquire() as connection, connection.transaction():
        taken = await connection.fetchval(
            "UPDATE bench_stock SET available = available - 1 WHERE available > 0 RETURNING 1"
        )
        if taken is None:
            return web.json_response({"state": "sold_out"}, status=409)
        await connection.execute("INSERT INTO bench_orders VALUES ($1, $2)", order, buyer)
    return web.json_response({"id": order, "sku": body["sku"], "state": "reserved"}, status=201)


async def _redis(app: web.Application) -> AsyncIterator[None]:
    redis = app[REDIS]
    await redis.set("{b}:stock", 1_000_000_000)
    app[SCRIPT] = await redis.script_load(EVALSHA)
    yield
    await redis.delete("{b}:holds", "{b}:buyers", "{b}:stock", "{b}:events")
    await redis.aclose()


async def _postgres(app: web.Application) -> AsyncIterator[None]:
    pool = app[POOL]
    await pool
    await pool.execute(
        "DROP TABLE IF EXISTS bench_stock, bench_orders;"
        "CREATE TABLE bench_stock (available bigint NOT NULL);"
        "CREATE TABLE bench_orders (id text PRIMARY KEY, buyer text NOT NULL);"
        "INSERT INTO bench_stock VALUES (1000000000)"
    )
    yield
    await pool.execute("DROP TABLE bench_stock, bench_orders")
    await pool.close()


def build(kind: str, redis_url: str, postgres_dsn: str) -> web.Application:
    """The app of a baseline."""
    app = web.Application()
    app.router.add_post("/{tail:.*}", {"bare": bare, "evalsha": evalsha, "hotrow": hotrow}[kind])
    if kind == "evalsha":
        app[REDIS] = Redis.from_url(redis_url, protocol=3, decode_responses=True)
        app.cleanup_ctx.append(_redis)
    if kind == "hotrow":
        app[POOL] = asyncpg.create_pool(postgres_dsn, min_size=16, max_size=16)
        app.cleanup_ctx.append(_postgres)
    return app


def main() -> None:
    """Serve one baseline until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("bare", "evalsha", "hotrow"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--redis-url", default="")
    parser.add_argument("--postgres-dsn", default="")
    given = parser.parse_args()
    asyncio.set_event_loop(loop := uvloop.new_event_loop())

    async def make() -> web.Application:
        return build(given.kind, given.redis_url, given.postgres_dsn)

    web.run_app(make(), host="127.0.0.1", port=given.port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
