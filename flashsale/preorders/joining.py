"""Who joins and who leaves the queues, out of orders as they are now. Pure: it writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flashsale.domain.orders import OrderState
from flashsale.preorders.allocation import WaveRoom, wave_of
from flashsale.preorders.values import CapPart, Joining, Leaving, NewsOrder, QueueKey

_ENDED = {OrderState.REFUNDED.value: "refunded", OrderState.FORFEITED.value: "forfeited"}


@dataclass(slots=True)
class Changes:
    """Rows to write; `freed` are units of the cap that are promised to nobody any more."""

    joining: list[Joining] = field(default_factory=list)
    leaving: list[Leaving] = field(default_factory=list)
    freed: dict[tuple[QueueKey, str], int] = field(default_factory=dict)


def plan(
    orders: Sequence[NewsOrder],
    steps: dict[QueueKey, int],
    caps: Mapping[QueueKey, Sequence[CapPart]],
) -> Changes:
    """What becomes of the queues. `steps`, of every queue concerned, are counted on.

    Those who leave do so first, which frees their part of the cap; then the others join, in the
    order of the money ledger.
    """
    changes = Changes()
    promised = {
        (queue, part.wave): part.promised for queue, parts in caps.items() for part in parts
    }
    for order in orders:
        reason = _reason_to_leave(order)
        if reason is None or order.present_item is None:
            continue
        queue = QueueKey(order.sale_id, order.present_item)
        steps[queue] += 1
        changes.leaving.append(Leaving(order.id, steps[queue], reason))
        part = queue, order.wave or ""
        changes.freed[part] = changes.freed.get(part, 0) + order.quantity
        promised[part] = promised.get(part, 0) - order.quantity
    joining = (order for order in orders if _joins(order))
    for order in sorted(joining, key=lambda each: (each.received_at, each.event_id)):
        queue = QueueKey(order.sale_id, order.item)
        steps[queue] += 1
        parts = caps[queue]
        rooms = [WaveRoom(p.wave, p.units, promised[queue, p.wave]) for p in parts]
        wave = wave_of(rooms, order.quantity)
        promised[queue, wave] += order.quantity
        changes.joining.append(
            Joining(
                order.sale_id,
                order.item,
                steps[queue],
                order.id,
                order.quantity,
                order.received_at,
                order.event_id,
                wave,
                next(part.ships_at for part in parts if part.wave == wave),
                order.present_item is not None,
            )
        )
    return changes


def _reason_to_leave(order: NewsOrder) -> str | None:
    if order.present_item is None:
        return None
    if order.state == OrderState.DEPOSIT_PAID.value and order.item != order.present_item:
        return "changed"
    return _ENDED.get(order.state)


def _joins(order: NewsOrder) -> bool:
    return order.state == OrderState.DEPOSIT_PAID.value and order.item != order.present_item
