"""The bundled servers come up, keep their data, and keep their promises."""

from __future__ import annotations

import asyncpg
from redis.asyncio import Redis


async def test_both_answer_with_the_promised_durability(redis_db: Redis, fresh_database: str):
    settings = await redis_db.config_get("appendonly", "appendfsync", "maxmemory-policy", "save")
    connection = await asyncpg.connect(fresh_database)
    shown = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
    await connection.close()
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    assert shown == ["on", "on"]
