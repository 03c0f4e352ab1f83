"""Checks a pre-order: who was served, recomputed from the rows, and sums. It mends nothing."""

from __future__ import annotations

from flashsale.preorders import queries_verify as queries
from flashsale.preorders.queries import Pool
from flashsale.preorders.replay import replay
from flashsale.reconciliation.report import Check

INVARIANT = "PRE"
_EQUATIONS = {
    "lots": "free + given units of lots = units of lots",
    "served": "orders with units = orders served by their queues",
    "waiting": "orders with a deposit = orders waiting in their queues",
    "promises": "promised units of the cap = units of orders in their queues",
    "balances": "orders with a balance to pay = balances that the clock knows of",
}
_NAMED_MAX = 5


async def verify_preorder(pool: Pool, sale_id: str) -> list[Check]:
    """Every check of a sale, read at one instant; no checks where it has no queues.

    Those who joined or left a queue a moment ago are on their way, and counted on neither side.
    """
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        rows = await queries.queue_rows(connection, sale_id)
        sides = await queries.sides(connection, sale_id)
    checks = []
    for queue in rows:
        if not (queue.lots or queue.stays):
            continue
        result = replay(queue.lots, queue.stays, queue.shares)
        equation = f"allocations of {queue.sku} = their recomputation from the rows"
        right = result.right if result.right != result.shares or not result.wrong else -1
        checks.append(_check(equation, result.shares, right, result.wrong))
        equation = f"deposits of {queue.sku} overtaken by a later one = 0"
        checks.append(_check(equation, len(result.overtaken), 0, result.overtaken))
    if not checks:
        return []
    for side in sides:
        named = () if side.wrong is None else (side.wrong,)
        checks.append(_check(_EQUATIONS[side.name], side.left, side.right, named))
    return checks


def _check(equation: str, left: int, right: int, wrong: tuple[str, ...]) -> Check:
    named = ", ".join(wrong[:_NAMED_MAX])
    return Check(INVARIANT, equation, left == right and not wrong, left, right, named)
