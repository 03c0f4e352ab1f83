"""What a lane holds, and how orders move in it: half of the oracle of the differential run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from flashsale.domain.events import EventKind, OrderEvent, SaleEvent
from flashsale.domain.outcomes import HOLD_STATES, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock

LETTERS = {state: letter for letter, state in HOLD_STATES.items()}


#: The counter that an order's units stand in, by its letter; else they are on sale.
HOMES = {"R": "held", "P": "paying", "S": "sold", "E": "sold"}


class Move(NamedTuple):
    """An order's next step; `due_ms` is the deadline of what goes on being held."""

    order: str
    letter: str
    kind: str | None = None
    item: int | None = None
    due_ms: int | None = None


def record(hold: Hold) -> str:
    """A hold as Redis keeps it."""
    return ":".join([LETTERS[hold.state], *map(str, hold[1:])])


@dataclass
class Holdings:
    """All that a lane holds. `events` are those of the last call.

    `now_ms` has to be set to the instant that the call was decided at.
    """

    epoch: int | None = None
    terms: Terms | None = None
    state: str = "open"
    stock: list[Stock] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    buyers: Counter[str] = field(default_factory=Counter)
    #: Orders that the clock will end, and when.
    due_ms: dict[str, int] = field(default_factory=dict)
    supplies: set[str] = field(default_factory=set)
    shut: set[int] = field(default_factory=set)
    revision: int = 0
    seq: int = 0
    now_ms: int = 0
    events: list[OrderEvent | SaleEvent] = field(default_factory=list)

    def _foreign(self, epoch: int) -> list[Any] | None:
        self.events = []
        if self.epoch is None:
            return [Status.MISSING_LANE]
        return None if epoch == self.epoch else [Status.FOREIGN_EPOCH]

    def _append(self, *events: OrderEvent | SaleEvent) -> None:
        self.events = list(events)
        self.seq += bool(events)

    def live(self) -> list[str]:
        """Orders that the clock will end, the soonest first, then by name."""
        return sorted(self.due_ms, key=lambda order: (self.due_ms[order], order))

    def _of(self, order: str, buyer: str) -> list[Any] | None:
        hold = self.holds.get(order)
        return [Status.UNKNOWN_ORDER] if hold is None or hold.buyer != buyer else None

    def _moved(self, status: Status, move: Move) -> list[Any]:
        self._move(move)
        return [status, record(self.holds[move.order])]

    def _move(self, *moves: Move) -> None:
        events = []
        for order, letter, kind, item, due_ms in moves:
            hold = self.holds[order]
            after = hold._replace(
                state=HOLD_STATES[letter],
                version=hold.version + 1,
                item=hold.item if item is None else item,
            )
            for one, sign in ((hold, -1), (after, 1)):
                home = HOMES.get(LETTERS[one.state])
                if home is not None:
                    units = sign * hold.quantity
                    stock = self.stock[one.item]
                    counted = {home: getattr(stock, home) + units}
                    counted["available"] = stock.available - units
                    self.stock[one.item] = replace(stock, **counted)
                    self.buyers[hold.buyer] += units
            self.holds[order] = after
            self.due_ms.pop(order, None)
            if due_ms is not None:
                self.due_ms[order] = due_ms
            events.append(OrderEvent(EventKind(kind or letter), after.version, order, *after[2:]))
        self._append(*events)
