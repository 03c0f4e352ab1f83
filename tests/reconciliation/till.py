"""Money as payments leave it in Postgres: what the tests of INV-12 begin with.

The sale counts as retired, so that Postgres alone is judged and a test may write any state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import asyncpg

from flashsale.domain.identity import order_hash
from flashsale.domain.orders import LIVE_STATES, OrderState
from flashsale.reconciliation.audit import audit
from flashsale.reconciliation.report import AuditReport, Check
from tests.reconciliation.scene import Scene

PRICE = 199900
DEPOSIT = 9900
OLD = 3600
_ORDER = """INSERT INTO orders (id, sale_id, item, buyer_id, quantity, unit_amount, state, version,
    hold_expires_at, decided_at, settled_at) VALUES ($1, $2, 0, $3, $4, $5, $6, 2,
    now() + interval '1 hour', now(), now() - $7 * interval '1 second')"""
_LIVE = "UPDATE sale_items SET live = live + $2 WHERE sale_id = $1 AND item = 0"
_PAYMENT = """INSERT INTO payments (id, order_id, sale_id, merchant_id, purpose, attempt, provider,
    amount, currency, state, captured, counts, expires_at, captured_at, applied_at, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, 'sandbox', $7, 'CNY', $8::text, $9, $10, $11::timestamptz,
    CASE WHEN $8::text = 'captured' THEN $11::timestamptz END,
    CASE WHEN $12::boolean THEN $11::timestamptz END, $11::timestamptz)"""
_ENTRY = """INSERT INTO ledger_entries (provider, event_id, kind, type, payment_id, refund_id,
    order_id, sale_id, amount, currency, fee, occurred_at, received_at, state, payload)
    VALUES ('sandbox', $1, $2::text, $2::text, $3, $4, $5, $6, $7, 'CNY', $8,
    $9::timestamptz, $9::timestamptz, $10, '{}')"""
_REFUND = """INSERT INTO refunds (id, payment_id, order_id, amount, currency, cause, state,
    created_at, done_at) VALUES ($1, $2, $3, $4, 'CNY', $5, $6::text, $7::timestamptz,
    CASE WHEN $6::text = 'done' THEN $7::timestamptz END)"""
_GIVE_BACK = """UPDATE payments SET refunding = refunding + $2, refunded = refunded + $3
    WHERE id = $1"""


@dataclass
class Till:
    """One sale's money; ages are seconds before now."""

    scene: Scene
    numbers: itertools.count = field(default_factory=itertools.count)
    connection: asyncpg.Connection | None = None

    @property
    def sale(self) -> str:
        return self.scene.sale.id

    async def retire(self) -> None:
        await self.run("UPDATE sales SET retired_at = now() WHERE id = $1", self.sale)

    async def run(self, statement: str, *arguments: object) -> None:
        await (self.connection or self.scene.pool).execute(statement, *arguments)

    @contextlib.asynccontextmanager
    async def at_once(self) -> AsyncIterator[Till]:
        """A till whose every write is seen together."""
        async with self.scene.pool.acquire() as connection, connection.transaction():
            yield dataclasses.replace(self, connection=connection)

    async def ago(self, seconds: float):
        query = "SELECT now() - $1::float8 * interval '1 second'"
        return await self.scene.pool.fetchval(query, seconds)

    async def order(self, state: str, *, quantity: int = 1, age: float = OLD) -> str:
        """An order as it stands; its id."""
        number = next(self.numbers)
        order = self.sale + order_hash(b"s" * 32, self.sale, "buyer", str(number))
        terms = (order, self.sale, f"buyer {number}", quantity, PRICE, state, age)
        await self.run(_ORDER, *terms)
        if OrderState(state) in LIVE_STATES:
            await self.run(_LIVE, self.sale, quantity)
        if state == "fulfilled":
            await self.run("INSERT INTO shipments VALUES ($1, $2, 'SF', 'SF1')", order, self.sale)
        return order

    async def paid_order(self, state: str = "paid", *, quantity: int = 1, **more) -> str:
        order = await self.order(state, quantity=quantity)
        await self.capture(order, PRICE * quantity, **more)
        return order

    async def payment(
        self,
        order: str,
        amount: int,
        *,
        purpose: str = "full",
        captured: int | None = None,
        counts: bool = False,
        state: str = "open",
        applied: bool = False,
        age: float = OLD,
    ) -> str:
        """A payment row alone; its id."""
        number = next(self.numbers)
        await self.run(
            _PAYMENT,
            *(f"pay{number}", order, self.sale, self.scene.merchant, purpose, number + 1, amount),
            *(state, captured or 0, counts, await self.ago(age), applied),
        )
        return f"pay{number}"

    async def capture(
        self,
        order: str,
        amount: int,
        *,
        purpose: str = "full",
        counts: bool = True,
        applied: bool = True,
        age: float = OLD,
        fee: int = 0,
    ) -> str:
        """A payment captured, and its row in the money ledger; the payment's id."""
        more = {"purpose": purpose, "counts": counts, "applied": applied, "age": age}
        payment = await self.payment(order, amount, captured=amount, state="captured", **more)
        await self.run("UPDATE payments SET fee = $2 WHERE id = $1", payment, fee)
        await self.entry("captured", payment, amount, order=order, age=age, fee=fee)
        return payment

    async def entry(
        self,
        kind: str,
        payment: str | None,
        amount: int,
        *,
        refund: str | None = None,
        order: str | None = None,
        state: str = "applied",
        age: float = OLD,
        fee: int = 0,
        event: str | None = None,
    ) -> str:
        """A row of the money ledger; the event's id."""
        event = event or f"evt{next(self.numbers)}"
        place = (payment, refund, order, self.sale if order else None)
        instant = await self.ago(age)
        await self.run(_ENTRY, event, kind, *place, amount, fee, instant, state)
        return event

    async def refund(
        self,
        payment: str,
        order: str,
        amount: int,
        *,
        cause: str = "merchant",
        state: str = "done",
        age: float = OLD,
    ) -> str:
        """A refund, asked for or done; its id."""
        refund = f"ref{next(self.numbers)}"
        instant = await self.ago(age)
        await self.run(_REFUND, refund, payment, order, amount, cause, state, instant)
        given = amount if state == "done" else 0
        await self.run(_GIVE_BACK, payment, amount, given)
        if given:
            await self.entry("refunded", payment, amount, refund=refund, order=order, age=age)
        return refund

    async def audit(self, **options) -> AuditReport:
        (report,) = await audit(self.scene.pool, self.scene.inspector, self.sale, **options)
        return report

    async def broken(self) -> dict[str, Check]:
        """The checks that do not hold, by their equation."""
        return {check.equation: check for check in (await self.audit()).broken}
