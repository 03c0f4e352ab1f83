"""Collects balances: asks, reminds, charges, and gives up as the sale said. Never moves stock.

What money does is the payments' business: a charge is a wish in their outbox, and an order that
is given up is closed by them, in this transaction and under the same lock of the order's row. So
a balance that was paid in time and an order that is given up exclude each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from flashsale.domain.orders import OrderState
from flashsale.orders.values import Refusal
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.values import Cause, Closed
from flashsale.preorders import queries_balances as queries
from flashsale.preorders.balance import Progress, Step, charges_by, turn
from flashsale.preorders.queries import Pool, Transaction
from flashsale.preorders.queries_balances import Due, Written
from flashsale.sales.queries import find_sales
from flashsale.sales.values import PreorderTerms, instant, milliseconds

#: The outbox' name for a charge by the saved deposit; its subject is the order.
CHARGE = "charge_balance"
#: What waits for a payment under way, or for Redis, is looked at again this much later.
LOOK_AGAIN = timedelta(seconds=1)

_OPEN = frozenset({OrderState.ALLOCATED.value, OrderState.BALANCE_DUE.value})
_REASON = "The balance was not paid in time."


class Closing(Protocol):
    """Ends an order in the caller's transaction, which has locked it (`payments.refunds`)."""

    async def close_in(
        self, connection: Transaction, order_id: str, cause: Cause, reason: str
    ) -> Closed | Refusal:
        """Give all money and all units back."""

    async def forfeit_in(self, connection: Transaction, order_id: str) -> Closed | Refusal:
        """Give the units back; the deposit stays."""


@dataclass(slots=True)
class Collected:
    """What one round did, by order."""

    demanded: list[str] = field(default_factory=list)
    reminded: list[str] = field(default_factory=list)
    charged: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    closed: int = 0

    @property
    def moved(self) -> bool:
        """Whether anything came of it; what waits for something else is no reason to go on."""
        return bool(self.demanded or self.reminded or self.charged or self.ended or self.closed)


async def collect(pool: Pool, closing: Closing, now: datetime, limit: int) -> Collected:
    """Take at most `limit` due balances one step on, in one transaction."""
    did = Collected()
    due = await queries.due_balances(pool, now, limit)
    if not due:
        return did
    async with pool.acquire() as connection, connection.transaction():
        found = await queries.lock_balances(connection, due, now)
        sales = await find_sales(connection, sorted({each.sale_id for each in found}))
        terms = {sale.id: sale.preorder for sale in sales if sale.preorder is not None}
        written = _decide(found, terms, milliseconds(now), did)
        await queries.demand(connection, did.demanded)
        await queries.remind(connection, did.reminded)
        await wish(connection, [Wish(CHARGE, order) for order in did.charged])
        ending, did.ended = did.ended, []
        for order_id in ending:
            sale_terms = terms[next(each.sale_id for each in found if each.order_id == order_id)]
            if await _end(connection, closing, order_id, sale_terms):
                did.ended.append(order_id)
        await queries.write(connection, written)
    return did


def _decide(
    found: Sequence[Due], terms: Mapping[str, PreorderTerms], now_ms: int, did: Collected
) -> list[Written]:
    """Sort balances by what is to be done, and say when each wants something again."""
    written = []
    for due in found:
        if due.state not in _OPEN:
            did.closed += 1
            written.append(_later(due, due.done, None))
            continue
        step, _ = turn(terms[due.sale_id], due.when, due.done, now_ms)
        if due.closing or (step in {Step.CHARGE, Step.END} and due.in_flight):
            # Whatever is under way is told first: money that came in is never given up on.
            written.append(_later(due, due.done, instant(now_ms) + LOOK_AGAIN))
            continue
        demanded, reminded, charges = due.done
        match step:
            case Step.DEMAND:
                demanded = True
                did.demanded.append(due.order_id)
            case Step.REMIND:
                reminded = True
                did.reminded.append(due.order_id)
            case Step.CHARGE:
                charges = max(charges + 1, charges_by(terms[due.sale_id], due.when, now_ms))
                did.charged.append(due.order_id)
            case Step.END:
                did.ended.append(due.order_id)
        done = Progress(demanded, reminded, charges)
        if step is Step.END:
            again = instant(now_ms) + LOOK_AGAIN
        else:
            again = instant(max(now_ms, turn(terms[due.sale_id], due.when, done, now_ms).at_ms))
        written.append(_later(due, done, again))
    return written


def _later(due: Due, done: Progress, next_at: datetime | None) -> Written:
    return Written(due.order_id, done.reminded, done.charges, next_at)


async def _end(
    connection: Transaction, closing: Closing, order_id: str, terms: PreorderTerms
) -> bool:
    """Give an order up; whether that could be decided now."""
    if terms.on_default == "forfeit":
        ended = await closing.forfeit_in(connection, order_id)
    else:
        ended = await closing.close_in(connection, order_id, Cause.DEFAULT, _REASON)
    return isinstance(ended, Closed)
