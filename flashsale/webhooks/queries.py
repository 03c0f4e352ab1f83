"""Outbound webhooks in Postgres: a function a statement. Sends nothing and decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from asyncpg import Record

from flashsale.settlement.queries import Connection, Pool
from flashsale.sql import load_queries
from flashsale.webhooks.values import (
    TEST_TYPE,
    Claim,
    Delivery,
    DeliveryState,
    Endpoint,
    EndpointState,
    Outcome,
)

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
#: Above every event's number.
NUMBER_MAX = 2**63 - 1


class Claimed(NamedTuple):
    """Claims that may be sent, and how many deliveries wait for an earlier event of their order."""

    claims: list[Claim]
    blocked: int


async def announce_event(
    connection: Connection,
    merchant_id: str,
    event_type: str,
    sale_id: str | None,
    order_id: str | None,
    data: Mapping[str, Any],
) -> bool:
    """Write an event for whoever listens, in the caller's transaction; False where nobody does."""
    text = orjson.dumps(data).decode()
    told = await connection.fetchval(
        _SQL["announce_event"], merchant_id, event_type, sale_id, order_id, text
    )
    return told is not None


async def insert_endpoint(pool: Pool, endpoint: Endpoint, endpoints_max: int) -> bool:
    """Keep a new endpoint; False where its merchant has as many as one may have."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(_SQL["lock_merchant"], endpoint.merchant_id)
        if (
            await connection.fetchval(_SQL["count_endpoints"], endpoint.merchant_id)
            >= endpoints_max
        ):
            return False
        await connection.execute(
            _SQL["insert_endpoint"],
            endpoint.id,
            endpoint.merchant_id,
            endpoint.url,
            list(endpoint.secrets),
            list(endpoint.types),
            endpoint.created_at,
        )
        return True


async def find_endpoint(pool: Pool, merchant_id: str, endpoint_id: str) -> Endpoint | None:
    """One of a merchant's endpoints."""
    row = await pool.fetchrow(_SQL["find_endpoint"], merchant_id, endpoint_id)
    return None if row is None else _endpoint(row)


async def list_endpoints(
    pool: Pool, merchant_id: str, after: str | None, limit: int
) -> list[Endpoint]:
    """Up to `limit` of a merchant's endpoints, oldest first, behind the one with id `after`."""
    rows = await pool.fetch(_SQL["list_endpoints"], merchant_id, after, limit)
    return [_endpoint(row) for row in rows]


async def delete_endpoint(pool: Pool, merchant_id: str, endpoint_id: str, now: datetime) -> bool:
    """Send nothing there from now on; False where the merchant has no such endpoint."""
    return await pool.fetchval(_SQL["delete_endpoint"], merchant_id, endpoint_id, now) is not None


async def rotate_secret(
    pool: Pool, merchant_id: str, endpoint_id: str, secret: str, previous_until: datetime
) -> bool:
    """Sign with `secret`, and with the one before it until an instant."""
    found = await pool.fetchval(
        _SQL["rotate_secret"], merchant_id, endpoint_id, secret, previous_until
    )
    return found is not None


async def enable_endpoint(pool: Pool, merchant_id: str, endpoint_id: str) -> bool:
    """Send to an endpoint again; False where the merchant has no such endpoint."""
    return await pool.fetchval(_SQL["enable_endpoint"], merchant_id, endpoint_id) is not None


async def disable_endpoint(pool: Pool, endpoint_id: str, note: str, now: datetime) -> bool:
    """Stop sending to an active endpoint, and say why; False where it is not active."""
    return await pool.fetchval(_SQL["disable_endpoint"], endpoint_id, note, now) is not None


async def insert_test(
    pool: Pool, endpoint: Endpoint, data: Mapping[str, Any], now: datetime
) -> int:
    """An event for one endpoint alone; its number."""
    text = orjson.dumps(data).decode()
    return int(
        await pool.fetchval(
            _SQL["insert_test"], endpoint.merchant_id, endpoint.id, TEST_TYPE, text, now
        )
    )


async def deliveries(
    pool: Pool,
    endpoint_id: str,
    state: DeliveryState | None,
    *,
    before: int = NUMBER_MAX,
    limit: int,
) -> list[Delivery]:
    """Up to `limit` deliveries, newest first, of events numbered below `before`."""
    rows = await pool.fetch(_SQL["deliveries"], endpoint_id, state, before, limit)
    return [
        Delivery(**{**row, "state": DeliveryState(row["state"]), "log": json.loads(row["log"])})
        for row in rows
    ]


async def replay_delivery(pool: Pool, endpoint_id: str, event_id: int, now: datetime) -> bool:
    """Send an event that is done once more; False where it is pending, or not there."""
    return await pool.fetchval(_SQL["replay_delivery"], endpoint_id, event_id, now) is not None


async def replay_dead(
    pool: Pool, endpoint_id: str, since: datetime, now: datetime, limit: int
) -> int:
    """Send dead deliveries of events since an instant once more; how many, at most `limit`."""
    done = await pool.execute(_SQL["replay_dead"], endpoint_id, since, now, limit)
    return int(done.rpartition(" ")[2])


async def busy_endpoints(pool: Pool, now: datetime) -> list[Endpoint]:
    """Active endpoints with something to be sent now."""
    return [_endpoint(row) for row in await pool.fetch(_SQL["busy_endpoints"], now)]


async def claim(
    pool: Pool,
    endpoint_id: str,
    now: datetime,
    *,
    limit: int,
    lease_until: datetime,
    blocked_until: datetime,
) -> Claimed:
    """Make up to `limit` due deliveries ours; those that must wait are put off."""
    rows = await pool.fetch(_SQL["claim"], endpoint_id, now, limit, lease_until, blocked_until)
    claims = [Claim(*tuple(row)[:-1]) for row in rows if not row["blocked"]]
    return Claimed(claims, len(rows) - len(claims))


async def finish(pool: Pool, endpoint_id: str, outcomes: Sequence[Outcome]) -> int:
    """Write down what became of claims; how many later events are due now because of it."""
    lines = [
        orjson.dumps(
            {"at": each.at, "status": each.status, "error": each.error, "took_ms": each.took_ms}
        ).decode()
        for each in outcomes
    ]
    freed = await pool.fetchrow(
        _SQL["finish"],
        [endpoint_id] * len(outcomes),
        [each.event_id for each in outcomes],
        [each.fence for each in outcomes],
        [each.state.value for each in outcomes],
        [each.next_at for each in outcomes],
        [each.tried for each in outcomes],
        [each.at for each in outcomes],
        [each.answer for each in outcomes],
        lines,
    )
    return 0 if freed is None else int(freed["freed"])


async def announce_sold_out(pool: Pool, now: datetime) -> int:
    """Tell of sales that have sold out, once for each capacity; how many were found."""
    return len(await pool.fetch(_SQL["newly_sold_out"], now))


async def sweep(pool: Pool, keep_since: datetime, forget_before: datetime, limit: int) -> int:
    """Remove up to `limit` old events and as many deliveries of deleted endpoints; how many."""
    gone = int(await pool.fetchval(_SQL["sweep_events"], keep_since, limit))
    left = int(await pool.fetchval(_SQL["sweep_deleted"], limit))
    await pool.execute(_SQL["forget_deleted"], forget_before)
    return gone + left


async def backlog(pool: Pool) -> tuple[int, int]:
    """Deliveries that are pending, and those that were given up."""
    row = await pool.fetchrow(_SQL["backlog"])
    return (0, 0) if row is None else (row["pending"], row["dead"])


def _endpoint(row: Record) -> Endpoint:
    return Endpoint(**{**row, "state": EndpointState(row["state"])})
