"""Recomputes who was served, from the rows alone. Pure; the engine's own bookkeeping is no input.

What happened to a queue is numbered by its steps. Repeating them one by one, the rule of
`allocation` has to serve the very orders that were served, out of the very lots.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from flashsale.preorders.allocation import LotRoom, Share, Waiting, allocate


class LotRow(NamedTuple):
    """A lot and the step at which it came."""

    lot: str
    quantity: int
    step: int


class StayRow(NamedTuple):
    """An order's stay in the queue; `position` is its deposit's in the money ledger."""

    order: str
    quantity: int
    position: tuple[datetime, str]
    joined: int
    allocated: int | None
    left: int | None
    changed: bool


class ShareRow(NamedTuple):
    """Units of a lot that an order was given at a step."""

    lot: str
    order: str
    quantity: int
    place: int


class Replayed(NamedTuple):
    """What repeating the steps came to, beside what the rows say.

    `wrong`: orders that were served otherwise than the rule says. `overtaken`: orders that joined
    when somebody who had paid later was served already.
    """

    shares: int
    right: int
    wrong: tuple[str, ...]
    overtaken: tuple[str, ...]


class _Queue:
    """A queue between two steps."""

    def __init__(self) -> None:
        self.free: dict[str, int] = {}
        self.waiting: list[tuple[tuple[datetime, str], StayRow]] = []
        self.given: dict[str, list[Share]] = {}
        self.served_until: tuple[datetime, str] | None = None
        self.overtaken: list[str] = []

    def join(self, stay: StayRow) -> None:
        insort(self.waiting, (stay.position, stay))
        if not stay.changed and self.served_until and stay.position < self.served_until:
            self.overtaken.append(stay.order)

    def serve(self, stay: StayRow) -> list[Share]:
        """What the rule gives to the head of the queue, which should be this order."""
        # Whoever left without units was being refunded, or wanted another SKU.
        staying = (each for _, each in self.waiting if each.left is None or each.allocated)
        head = next(staying, stay)
        rooms = [LotRoom(lot, free) for lot, free in self.free.items()]
        shares = allocate(rooms, [Waiting(head.order, head.quantity)])
        self.waiting.remove((stay.position, stay))
        self.served_until = max(self.served_until or stay.position, stay.position)
        return shares

    def give(self, order: str, shares: Sequence[Share]) -> None:
        self.given[order] = list(shares)
        for share in shares:
            self.free[share.lot] = self.free.get(share.lot, 0) - share.quantity

    def leave(self, stay: StayRow) -> None:
        if stay.allocated is None:
            self.waiting.remove((stay.position, stay))
        for share in self.given.pop(stay.order, ()):
            self.free[share.lot] += share.quantity


def replay(
    lots: Iterable[LotRow], stays: Iterable[StayRow], shares: Iterable[ShareRow]
) -> Replayed:
    """Repeat a queue's steps and compare."""
    rows: dict[tuple[str, int], list[Share]] = {}
    count = right = 0
    for row in shares:
        count += 1
        rows.setdefault((row.order, row.place), []).append(Share(row.lot, row.order, row.quantity))
    queue, wrong = _Queue(), []
    for _, kind, each in _steps(lots, stays):
        if isinstance(each, LotRow):
            queue.free[each.lot] = each.quantity
        elif kind == "join":
            queue.join(each)
        elif kind == "leave":
            queue.leave(each)
        else:
            actual = rows.get((each.order, each.allocated or 0), [])
            if sorted(queue.serve(each)) == sorted(actual):
                right += len(actual)
            else:
                wrong.append(each.order)
            queue.give(each.order, actual)  # one mistake is not to make every later one look wrong
    return Replayed(count, right, tuple(wrong), tuple(queue.overtaken))


def _steps(
    lots: Iterable[LotRow], stays: Iterable[StayRow]
) -> list[tuple[int, str, LotRow | StayRow]]:
    steps: list[tuple[int, str, LotRow | StayRow]] = [(lot.step, "lot", lot) for lot in lots]
    for stay in stays:
        steps.append((stay.joined, "join", stay))
        if stay.allocated is not None:
            steps.append((stay.allocated, "serve", stay))
        if stay.left is not None:
            steps.append((stay.left, "leave", stay))
    return sorted(steps, key=lambda step: step[0])
