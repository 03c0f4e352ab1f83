"""What a lane must answer and become: the scripts' rules once more, from the domain's values.

An oracle for the differential run, never a stand-in: it is told every instant by Redis.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from flashsale.domain.events import EventKind, OrderEvent, SaleEvent
from flashsale.domain.outcomes import HOLD_STATES, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock

Request = tuple[str, str, int, int]
LETTERS = {state: letter for letter, state in HOLD_STATES.items()}


def record(hold: Hold) -> str:
    """A hold as Redis keeps it."""
    return ":".join([LETTERS[hold.state], *map(str, hold[1:])])


@dataclass
class LaneModel:
    """One lane. Each method takes one script's arguments, and returns its reply.

    `events` are those of the last call; `now_ms` has to be set to the instant it was decided at.
    """

    epoch: int | None = None
    terms: Terms | None = None
    state: str = "open"
    stock: list[Stock] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    buyers: Counter[str] = field(default_factory=Counter)
    supplies: set[str] = field(default_factory=set)
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

    def open_sale(self, epoch: int, terms: Terms, capacities: list[int]) -> list[Any]:
        if self.epoch is not None and (refusal := self._foreign(epoch)):
            return refusal
        self.events = []
        known = self.epoch is not None
        if known and (self.state in {"closed", "cancelled"} or len(capacities) != len(self.stock)):
            return [Status.ILLEGAL]
        if terms == self.terms:
            return [Status.ALREADY]
        self.terms = terms
        if not known:
            self.epoch = epoch
            self.stock = [Stock(capacity, capacity) for capacity in capacities]
        self._append(SaleEvent(EventKind.OPENED, f"{terms.starts_at_ms}-{terms.ends_at_ms}"))
        return [Status.UPDATED if known else Status.OPENED]

    def pause(self, epoch: int, state: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if self.state == state:
            return [Status.ALREADY]
        if self.state in {"closed", "cancelled"}:
            return [Status.ILLEGAL]
        self.state = state
        self._append(SaleEvent(EventKind.PAUSED if state == "paused" else EventKind.RESUMED, ""))
        return [Status.DONE]

    def close_sale(self, epoch: int, state: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if self.state == state:
            return [Status.ALREADY]
        if self.state in {"closed", "cancelled"}:
            return [Status.ILLEGAL]
        self.state = state
        self._append(SaleEvent(EventKind.CLOSED, state))
        return [Status.DONE]

    def add_supply(self, epoch: int, supply: str, item: int, quantity: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if quantity == 0:
            return [Status.BAD_ARGUMENT]
        if supply in self.supplies:
            return [Status.ALREADY]
        if item >= len(self.stock):
            return [Status.UNKNOWN_SKU]
        after = self.stock[item].supply(quantity)
        if after is None:
            return [Status.BELOW_LIVE, self.stock[item].available]
        self.stock[item] = after
        self.supplies.add(supply)
        self._append(SaleEvent(EventKind.SUPPLIED, f"{supply} {item} {quantity}"))
        return [Status.DONE, after.available]

    def reserve(self, epoch: int, requests: list[Request]) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        for number, (_, _, _, quantity) in enumerate(requests, start=1):
            if quantity < 1:
                return [Status.BAD_ARGUMENT, number]
        answers: list[Any] = []
        granted: list[OrderEvent] = []
        for request in requests:
            answer = self._decide(*request)
            answers += answer
            if answer[0] is Status.RESERVED:
                order, buyer, item, quantity = request
                granted.append(
                    OrderEvent(EventKind.RESERVED, 1, order, item, quantity, answer[1], buyer)
                )
        self._append(*granted)
        return [Status.DONE, self.now_ms, self.seq, *answers]

    def _decide(  # noqa: PLR0911 - one return a check, in the published order
        self, order: str, buyer: str, item: int, quantity: int
    ) -> list[Any]:
        assert self.terms is not None
        if hold := self.holds.get(order):
            same = (hold.item, hold.quantity) == (item, quantity)
            return [Status.REPLAYED, record(hold)] if same else [Status.KEY_REUSED, 0]
        if self.state in {"closed", "cancelled"} or self.now_ms >= self.terms.ends_at_ms:
            return [Status.SALE_OVER, 0]
        if self.now_ms < self.terms.starts_at_ms:
            return [Status.NOT_OPEN, self.terms.starts_at_ms]
        if self.state == "paused":
            return [Status.PAUSED, 0]
        if not 0 <= item < len(self.stock):
            return [Status.UNKNOWN_SKU, 0]
        if self.buyers[buyer] + quantity > self.terms.buyer_limit:
            return [Status.LIMIT_REACHED, 0]
        after = self.stock[item].hold(quantity)
        if after is None:
            return [Status.SOLD_OUT, 0]
        self.stock[item] = after
        self.buyers[buyer] += quantity
        deadline_ms = self.now_ms + self.terms.hold_ms
        self.holds[order] = Hold(HOLD_STATES["R"], 1, item, quantity, deadline_ms, buyer)
        return [Status.RESERVED, deadline_ms]

    def release(self, epoch: int, order: str, buyer: str, letter: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if letter not in {"C", "J"}:
            return [Status.BAD_ARGUMENT]
        hold = self.holds.get(order)
        if hold is None or hold.buyer != buyer:
            return [Status.UNKNOWN_ORDER]
        if hold.state is HOLD_STATES[letter]:
            return [Status.ALREADY, record(hold)]
        if order not in self.live():
            return [Status.ILLEGAL, record(hold)]
        self._end(letter, [order])
        return [Status.RELEASED, record(self.holds[order])]

    def expire_due(self, epoch: int, limit: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        due = [order for order in self.live() if self.holds[order].deadline_ms <= self.now_ms]
        self._end("X", due[:limit])
        left = self.live()
        return [Status.DONE, len(due[:limit]), self.holds[left[0]].deadline_ms if left else 0]

    def cancel_holds(self, epoch: int, limit: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if self.state != "cancelled":
            return [Status.ILLEGAL]
        ended = self.live()[:limit]
        self._end("C", ended)
        return [Status.DONE, len(ended)]

    def live(self) -> list[str]:
        """Orders that hold units, soonest deadline first, then by name."""
        held = [order for order, hold in self.holds.items() if hold.state is HOLD_STATES["R"]]
        return sorted(held, key=lambda order: (self.holds[order].deadline_ms, order))

    def _end(self, letter: str, orders: list[str]) -> None:
        events = []
        for order in orders:
            hold = self.holds[order]
            self.stock[hold.item] = self.stock[hold.item].give_back(hold.quantity)
            self.buyers[hold.buyer] -= hold.quantity
            ended = hold._replace(state=HOLD_STATES[letter], version=hold.version + 1)
            self.holds[order] = ended
            events.append(OrderEvent(EventKind(letter), ended.version, order, *ended[2:]))
        self._append(*events)
