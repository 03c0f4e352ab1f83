"""Direct: a change of one order once its sale's lanes are retired. While they exist, Redis decides.

Locks are taken as everywhere: the order, then its sale's items by number.
"""

from __future__ import annotations

from typing import NamedTuple

from flashsale.domain.orders import LIVE_STATES, OrderAction, OrderState, is_live, transition
from flashsale.domain.outcomes import Status
from flashsale.settlement.queries import SQL, Connection

_DONE = {
    OrderAction.EXPIRE: Status.RELEASED,
    OrderAction.CANCEL: Status.RELEASED,
    OrderAction.PAY: Status.PAYING,
    OrderAction.DECLINE: Status.DECLINED,
    OrderAction.CAPTURE: Status.CAPTURED,
    OrderAction.CAPTURE_DEPOSIT: Status.CAPTURED,
    OrderAction.CHANGE_SKU: Status.CHANGED,
    OrderAction.REFUND: Status.RETURNED,
    OrderAction.FORFEIT: Status.RETURNED,
}
#: Where each of these has led already: the change was made before.
_RESULTS = {
    OrderAction.EXPIRE: OrderState.EXPIRED,
    OrderAction.CANCEL: OrderState.CANCELLED,
    OrderAction.PAY: OrderState.PAYING,
    OrderAction.DECLINE: OrderState.CONFIRMED,
    OrderAction.CAPTURE: OrderState.PAID,
    OrderAction.CAPTURE_DEPOSIT: OrderState.DEPOSIT_PAID,
    OrderAction.REFUND: OrderState.REFUNDED,
    OrderAction.FORFEIT: OrderState.FORFEITED,
}
_LIVE = sorted(state.value for state in LIVE_STATES)
#: What was announced in `orders.closing`, and the one action that may follow it.
_ANNOUNCED = {
    "refunded": OrderAction.REFUND,
    "forfeited": OrderAction.FORFEIT,
    "changing": OrderAction.CHANGE_SKU,
}


class DirectResult(NamedTuple):
    """What became of an order: the status that the script of the same action would have answered.

    `state` is the order's after the call, None with UNKNOWN_ORDER. MISSING_LANE: the sale is not
    retired, and nothing but its lanes may decide.
    """

    status: Status
    state: OrderState | None = None
    version: int = 0


class _Order(NamedTuple):
    id: str
    sale_id: str
    item: int
    buyer_id: str
    quantity: int
    state: OrderState
    version: int
    closing: str | None


async def apply(
    connection: Connection, order_id: str, action: OrderAction, *, item: int | None = None
) -> DirectResult:
    """Take one action on a settled order, in the caller's transaction; `item` with CHANGE_SKU.

    Counts what becomes live or ends, raises the version and clears `closing`. Money that comes
    late takes units only within the buyer's limit and the supply, unless the sale was cancelled.
    Raises ValueError for actions that move no stock: those are not this module's.
    """
    if action not in _DONE or (action is OrderAction.CHANGE_SKU) != (item is not None):
        raise ValueError(f"{action} cannot be applied so")
    row = await connection.fetchrow(SQL["lock_order"], order_id)
    if row is None:
        return DirectResult(Status.UNKNOWN_ORDER)
    order = _Order(**{**row, "state": OrderState(row["state"])})
    sale = await connection.fetchrow(SQL["ended_sale"], order.sale_id)
    if sale is None or not sale["retired"]:
        return DirectResult(Status.MISSING_LANE, order.state, order.version)
    target = order.item if item is None else item
    refusal = _refusal(order, action, target, cancelled=sale["cancelled"])
    if refusal is None:
        refusal = await _no_room(connection, order, action, target, sale["per_buyer_limit"])
    if refusal is not None:
        return DirectResult(refusal, order.state, order.version)
    return await _write(connection, order, action, target)


def _refusal(order: _Order, action: OrderAction, target: int, *, cancelled: bool) -> Status | None:
    after = transition(order.state, action)
    same_item = action is OrderAction.CHANGE_SKU and target == order.item
    if _RESULTS.get(action) is order.state or (same_item and after is not None):
        return Status.ALREADY
    announced = order.closing is None or _ANNOUNCED[order.closing] is action
    gains = after is not None and is_live(after) and not is_live(order.state)
    changes = action is OrderAction.CHANGE_SKU
    if after is None or not announced or (cancelled and (gains or changes)):
        return Status.ILLEGAL
    return None


async def _no_room(
    connection: Connection, order: _Order, action: OrderAction, target: int, limit: int
) -> Status | None:
    """Why the units that the action takes are not there; the sale's items stay locked."""
    late = not is_live(order.state)
    rows = await connection.fetch(SQL["lock_all_room"], order.sale_id)
    room = {row["item"]: row["room"] for row in rows}
    if target not in room:
        return Status.UNKNOWN_SKU
    if late:
        # Under the items' locks: another late payment of this buyer is counted or waits for us.
        held = await connection.fetchval(SQL["live_of_buyer"], order.sale_id, order.buyer_id, _LIVE)
        if held + order.quantity > limit:
            return Status.LIMIT_REACHED
    if (late or action is OrderAction.CHANGE_SKU) and room[target] < order.quantity:
        return Status.SOLD_OUT
    return None


async def _write(
    connection: Connection, order: _Order, action: OrderAction, target: int
) -> DirectResult:
    after = transition(order.state, action)
    assert after is not None
    deltas = {order.item: 0, target: 0}
    deltas[order.item] -= order.quantity * is_live(order.state)
    deltas[target] += order.quantity * is_live(after)
    await connection.execute(SQL["move_order"], order.id, after.value, target)
    changed = {number: delta for number, delta in deltas.items() if delta}
    if changed:
        await connection.execute(
            SQL["add_live"], order.sale_id, list(changed), list(changed.values())
        )
    return DirectResult(_DONE[action], after, order.version + 1)
