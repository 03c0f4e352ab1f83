"""A pre-order with paid deposits on real Postgres: what the tests of queues and clocks begin with.

Deposits are written as settlement and the payments leave them. Time is virtual: NOW and after.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from flashsale.domain.identity import order_hash
from flashsale.payments.values import Cause, Closed
from flashsale.preorders.clock import PreorderClock
from flashsale.preorders.forms import LotForm, ShipDateForm
from flashsale.preorders.service import PreorderService
from flashsale.sales.forms import parse_form
from flashsale.sales.values import PreorderTerms

NOW = datetime(2026, 11, 11, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_MS = 3_600_000
SALE = "abcdefghijkl"
MERCHANT = "m"
TERMS = PreorderTerms(
    mode="on_allocation",
    opens_at_ms=None,
    due_at_ms=None,
    window_ms=72 * HOUR_MS,
    grace_ms=48 * HOUR_MS,
    retry_ms=24 * HOUR_MS,
    reminder_ms=24 * HOUR_MS,
    on_default="forfeit",
    free_cancel_ms=14 * 24 * HOUR_MS,
)
_SALE = """INSERT INTO sales (id, merchant_id, name, kind, state, starts_at, ends_at,
    per_buyer_limit, hold_seconds, armed_at, preorder)
    VALUES ($1, $2, 'S', 'preorder', 'open', $3::timestamptz, $3::timestamptz + interval '9 days',
    9, 600, $3, $4)"""
_ITEM = """INSERT INTO sale_items (sale_id, item, sku, name, price_amount, price_currency,
    capacity, deposit_amount, ships_at)
    VALUES ($1, $2::int, $3, 'I', $4, 'CNY', $5, 100, $6)"""
_ORDER = """INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state, version,
    hold_expires_at, decided_at) SELECT $1, $2, $3, $4, $5, i.price_amount, $6, 3, $7, $7
    FROM sale_items i WHERE i.sale_id = $2 AND i.item = $3"""
_PAYMENT = """INSERT INTO payments (id, order_id, sale_id, merchant_id, purpose, attempt, provider,
    provider_ref, amount, currency, state, captured, counts, saved, expires_at, applied_at)
    VALUES ($1, $2, $3, 'm', $4, $8, 'sandbox', $1, $5, 'CNY', $9, $6::bigint, $6::bigint > 0, true,
    $7::timestamptz + interval '1 hour', CASE WHEN $10 THEN $7 END)"""
_ENTRY = """INSERT INTO ledger_entries (provider, event_id, kind, type, payment_id, order_id,
    sale_id, amount, currency, occurred_at, received_at, state, payload)
    VALUES ('sandbox', $1, 'captured', 'x', $2, $3, $4, $5, 'CNY', $6, $6, 'applied', '{}')"""


def order_id(buyer: str) -> str:
    return SALE + order_hash(b"k" * 32, SALE, buyer, "key")


async def furnish(pool: asyncpg.Pool, terms: PreorderTerms = TERMS) -> None:
    """The merchant, the sale and its two SKUs."""
    await pool.execute("INSERT INTO merchants (id, name) VALUES ($1, 'M')", MERCHANT)
    await pool.execute(_SALE, SALE, MERCHANT, NOW - HOUR, json.dumps(asdict(terms)))
    for item, (sku, price) in enumerate([("gold", 1000), ("silver", 800), ("gift", 100)]):
        await pool.execute(_ITEM, SALE, item, sku, price, 1000, NOW + 100 * 24 * HOUR)


@dataclass
class Refunding:
    """Closes orders as the payments do, without their money: what the clock asks is what counts."""

    async def close_in(self, connection, order: str, cause: Cause, reason: str) -> Closed:
        assert cause is Cause.DEFAULT
        assert reason
        await connection.execute("UPDATE orders SET closing = 'refunded' WHERE id = $1", order)
        return Closed(order, 100)

    async def forfeit_in(self, connection, order: str) -> Closed:
        await connection.execute("UPDATE orders SET closing = 'forfeited' WHERE id = $1", order)
        return Closed(order, 0)


@dataclass
class Yard:
    pool: asyncpg.Pool
    now: datetime = NOW

    @property
    def service(self) -> PreorderService:
        return PreorderService(self.pool, lambda: self.now)

    def clock(self, **options) -> PreorderClock:
        return PreorderClock(self.pool, Refunding(), **options)

    async def tick(self, after: timedelta = timedelta(), **options) -> PreorderClock:
        """Let time pass, and the clock do everything that is due then."""
        self.now += after
        clock = self.clock(**options)
        while await clock.tick(self.now):
            pass
        return clock

    async def deposit(
        self,
        buyer: str,
        *,
        quantity: int = 1,
        item: int = 0,
        at: timedelta = -HOUR,
        state: str = "deposit_paid",
        applied: bool = True,
    ) -> str:
        """A deposit that the ledger received `at` from NOW; the order's id."""
        order, payment = order_id(buyer), f"{order_id(buyer)}.d1"
        received = NOW + at
        await self.pool.execute(_ORDER, order, SALE, item, buyer, quantity, state, received)
        await self.pay(order, "deposit", 100 * quantity, received, applied=applied)
        await self.pool.execute(
            _ENTRY, f"evt_{buyer}", payment, order, SALE, 100 * quantity, received
        )
        await self.pool.execute(
            "UPDATE sale_items SET live = live + $3 WHERE sale_id = $1 AND item = $2",
            SALE, item, quantity,
        )  # fmt: skip
        return order

    async def pay(
        self, order: str, purpose: str, amount: int, at: datetime, *, applied: bool = True,
        captured: int | None = None, attempt: int = 1,
    ) -> str:  # fmt: skip
        """A payment of an order; one that is not captured is open at the provider."""
        payment = f"{order}.{purpose[0]}{attempt}"
        got = amount if captured is None else captured
        state = "captured" if got else "open"
        await self.pool.execute(
            _PAYMENT, payment, order, SALE, purpose, amount, got, at, attempt, state, applied
        )
        return payment

    async def lot(self, quantity: int, *, sku: str = "gold", key: str | None = None, **more):
        form = parse_form(LotForm, {"sku": sku, "quantity": quantity, "reason": "dock 4"} | more)
        key = key or f"lot-{quantity}-{sku}-{self.now.isoformat()}-{id(form)}"
        return await self.service.add_lot(MERCHANT, SALE, form, key)

    async def move_date(self, ships_at: datetime, *, key: str = "date-1", **more):
        instant = ships_at.isoformat(timespec="milliseconds")
        body = {"sku": "gold", "ships_at": instant, "reason": "late parts"} | more
        return await self.service.move_ship_date(
            MERCHANT, SALE, parse_form(ShipDateForm, body), key
        )

    async def set_state(self, order: str, state: str, **columns: object) -> None:
        """What settlement writes when Redis has decided: it clears `closing`."""
        if state in {"refunded", "forfeited"}:
            await self.pool.execute(
                """UPDATE sale_items i SET live = i.live - o.quantity FROM orders o
                    WHERE o.id = $1 AND i.sale_id = o.sale_id AND i.item = o.item""",
                order,
            )
        await self.pool.execute(
            """UPDATE orders SET state = $2, closing = NULL, version = version + 1,
                item = coalesce($3, item) WHERE id = $1""",
            order, state, columns.get("item"),
        )  # fmt: skip

    async def states(self) -> dict[str, str]:
        """State by buyer."""
        rows = await self.pool.fetch("SELECT buyer_id, state FROM orders ORDER BY buyer_id")
        return {row["buyer_id"]: row["state"] for row in rows}

    async def allocated(self, item: int = 0) -> list[str]:
        """Buyers with units of an item, in the order in which they were served."""
        rows = await self.pool.fetch(
            """SELECT o.buyer_id FROM deposits d JOIN orders o ON o.id = d.order_id
                WHERE d.item = $1 AND d.allocated_step IS NOT NULL AND d.left_step IS NULL
                ORDER BY d.allocated_step""",
            item,
        )
        return [row["buyer_id"] for row in rows]

    async def free(self) -> int:
        return await self.pool.fetchval("SELECT coalesce(sum(free), 0)::bigint FROM lots")

    async def wishes(self, kind: str) -> list[str]:
        rows = await self.pool.fetch("SELECT subject FROM outbox WHERE kind = $1", kind)
        return sorted(row["subject"] for row in rows)
