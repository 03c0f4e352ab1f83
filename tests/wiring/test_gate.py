"""The gate of a web process: what `/readyz` and the gauge say while a sale runs."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flashsale.config import load_settings
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.store import ReservationStore
from flashsale.wiring.web_process import _deps
from tests.sales.shop import SCRIPTS, open_shop


async def test_the_gate_is_open_only_while_redis_holds_what_is_sold(
    schema, new_database, redis_db, redis_url, tmp_path
):
    nobody: Any = None

    async def gate(store: ReservationStore) -> str | None:
        return await _deps(
            load_settings({}), store, shop.pool, nobody, nobody, nobody, nobody
        ).probes["gate"]()

    async with new_database(template=schema) as dsn, open_shop(dsn, redis_url) as shop:
        away = Redis(unix_socket_path=str(tmp_path / "gone.sock"), retry=Retry(NoBackoff(), 0))
        gone = ReservationStore(away, SCRIPTS)
        assert await gate(shop.store) is None, "there is nothing to sell"
        sale = await shop.scheduled()
        assert await gate(shop.store) is None
        assert await gate(gone) == "Redis does not answer"
        await shop.redis.delete(lane_keys(sale.id, 0).meta)
        said = await gate(shop.store)
        assert said is not None
        assert sale.id in said
        await gone.close()
