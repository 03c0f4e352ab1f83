"""The queues at work: takes up who paid and who went, and serves who waits. Never asks Redis.

Each call is one bounded transaction. A queue's row is locked before its orders' rows, so that
several workers may run; what a crash interrupts was not begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from flashsale.domain.orders import OrderState
from flashsale.preorders import queries
from flashsale.preorders.allocation import Waiting, allocate
from flashsale.preorders.balance import window
from flashsale.preorders.joining import Changes, plan
from flashsale.preorders.queries import Pool, Transaction
from flashsale.preorders.values import Head, QueueKey, Served
from flashsale.sales.queries import find_sale
from flashsale.sales.values import milliseconds

#: Deposits are taken down in transactions that may commit in another order than they were begun.
#: One is served no sooner than this after it was received: until then an earlier one may appear.
KNOWN_AFTER = timedelta(seconds=2)


async def take_up(pool: Pool, now: datetime, limit: int) -> Changes | None:
    """Let orders join and leave their queues; None where there is no news."""
    async with pool.acquire() as connection, connection.transaction():
        news = await queries.take_news(connection, limit)
        if not news:
            return None
        orders = sorted({each.order_id for each in news})
        steps = await queries.lock_queues(
            connection, await queries.queues_of_orders(connection, orders)
        )
        locked = await queries.lock_news_orders(connection, orders)
        # An order whose SKU changed this moment belongs to a queue that is not locked: next round.
        late = {o.id for o in locked if QueueKey(o.sale_id, o.item) not in steps}
        caps = {queue: await queries.parts_of_cap(connection, queue) for queue in steps}
        changes = plan([order for order in locked if order.id not in late], steps, caps)
        await queries.leave(connection, changes.leaving, changes.freed)
        await queries.join(connection, changes.joining, now)
        await queries.set_steps(connection, steps)
        await queries.drop_news(connection, [each for each in news if each.order_id not in late])
        return changes


async def serve(pool: Pool, queue: QueueKey, now: datetime, limit: int) -> list[Served]:
    """Give the free units of a queue's lots to at most `limit` orders, first come first served."""
    sale = await find_sale(pool, queue.sale_id)
    if sale is None or sale.preorder is None:
        return []
    async with pool.acquire() as connection, connection.transaction():
        step = (await queries.lock_queues(connection, [queue]))[queue]
        known_until = now - KNOWN_AFTER
        transit = await queries.in_transit(connection, queue)
        if transit is not None and transit <= known_until:
            known_until = transit - timedelta(microseconds=1)
        waiting = await queries.heads(connection, queue, known_until, limit)
        heads = await queries.lock_heads(connection, [each.order for each in waiting])
        line = ready(waiting, heads, queue.item)
        shares = allocate(await queries.rooms(connection, queue), line)
        if not shares:
            return []
        orders = list(dict.fromkeys(share.order for share in shares))
        served = [Served(o, step + n, heads[o].rest) for n, o in enumerate(orders, start=1)]
        await queries.write_round(connection, shares, served, now)
        await queries.set_steps(connection, {queue: served[-1].step})
        when = window(sale.preorder, milliseconds(now))
        await queries.open_balances(
            connection, [each.order_id for each in served if each.rest > 0], sale.id, when
        )
        await queries.complete(connection, [each.order_id for each in served if each.rest <= 0])
        return served


def ready(waiting: Sequence[Waiting], heads: dict[str, Head], item: int) -> list[Waiting]:
    """Those of a queue who can be served: without who is leaving, up to who is undecided."""
    line = []
    for each in waiting:
        head = heads[each.order]
        if head.closing == "changing":
            break  # whether it stays in this queue is known in a moment, and it comes first
        if head.state == OrderState.DEPOSIT_PAID.value and not head.closing and head.item == item:
            line.append(each)
    return line


async def add_lot(
    connection: Transaction, lot_id: str, queue: QueueKey, quantity: int, reason: str
) -> None:
    """Write incoming supply; whoever waits is served by the clock."""
    step = (await queries.lock_queues(connection, [queue]))[queue] + 1
    # The same request twice at once: the second one finds the lot behind the lock.
    if await queries.find_lot(connection, lot_id) is None:
        await queries.insert_lot(connection, lot_id, queue, quantity, reason, step)
        await queries.set_steps(connection, {queue: step})
