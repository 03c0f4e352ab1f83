"""What a lane must answer and become: the scripts' rules once more, from the domain's values.

An oracle for the differential run, never a stand-in: it is told every instant by Redis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flashsale.domain.events import EventKind, OrderEvent, SaleEvent
from flashsale.domain.orders import OrderState
from flashsale.domain.outcomes import HOLD_STATES, Hold, Status
from flashsale.domain.sales import Terms
from flashsale.domain.stock import Stock
from tests.lua.holdings import LETTERS, Holdings, Move, record

Request = tuple[str, str, int, int]


@dataclass
class LaneModel(Holdings):
    """One lane. Each method takes one script's arguments, and returns its reply."""

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

    def pause(self, epoch: int, state: str, revision: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if self.state == state or revision < self.revision:
            return [Status.ALREADY]
        if self.state in {"closed", "cancelled"}:
            return [Status.ILLEGAL]
        self.state, self.revision = state, revision
        self._append(SaleEvent(EventKind.PAUSED if state == "paused" else EventKind.RESUMED, ""))
        return [Status.DONE]

    def shut_item(self, epoch: int, item: int, state: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if item >= len(self.stock):
            return [Status.UNKNOWN_SKU]
        if (item in self.shut) == (state == "shut"):
            return [Status.ALREADY]
        self.shut ^= {item}
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
        if item in self.shut:
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
        self.due_ms[order] = deadline_ms
        return [Status.RESERVED, deadline_ms]

    def release(self, epoch: int, order: str, buyer: str, letter: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if letter not in {"C", "J"}:
            return [Status.BAD_ARGUMENT]
        return self._of(order, buyer) or self._release(order, letter)

    def _release(self, order: str, letter: str) -> list[Any]:
        hold = self.holds[order]
        if LETTERS[hold.state] == letter:
            return [Status.ALREADY, record(hold)]
        if LETTERS[hold.state] not in {"C": "RP", "J": "R"}[letter]:
            return [Status.ILLEGAL, record(hold)]
        return self._moved(Status.RELEASED, Move(order, letter))

    def pay(  # noqa: PLR0911 - one return a check, in the published order
        self, epoch: int, order: str, buyer: str, pay_ms: int
    ) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if pay_ms < 1:
            return [Status.BAD_ARGUMENT]
        if refusal := self._of(order, buyer):
            return refusal
        hold = self.holds[order]
        if hold.state is OrderState.PAYING:
            return [Status.ALREADY, record(hold)]
        if hold.state is not OrderState.RESERVED:
            return [Status.ILLEGAL, record(hold)]
        if hold.deadline_ms <= self.now_ms:
            return [Status.OVERDUE, record(hold)]
        return self._moved(Status.PAYING, Move(order, "P", due_ms=self.now_ms + pay_ms))

    def decline(self, epoch: int, order: str, buyer: str) -> list[Any]:
        if refusal := self._foreign(epoch) or self._of(order, buyer):
            return refusal
        hold = self.holds[order]
        if hold.state is OrderState.RESERVED:
            return [Status.ALREADY, record(hold)]
        if hold.state is not OrderState.PAYING:
            return [Status.ILLEGAL, record(hold)]
        return self._moved(Status.DECLINED, Move(order, "R", "D", due_ms=hold.deadline_ms))

    def capture(self, epoch: int, order: str, buyer: str, letter: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if letter not in {"S", "E"}:
            return [Status.BAD_ARGUMENT]
        return self._of(order, buyer) or self._capture(order, letter)

    def _capture(self, order: str, letter: str) -> list[Any]:
        assert self.terms is not None
        hold = self.holds[order]
        state, late = LETTERS[hold.state], hold.state is OrderState.EXPIRED
        if state == letter:
            return [Status.ALREADY, record(hold)]
        if state not in "RPX" or (late and self.state == "cancelled"):
            return [Status.ILLEGAL, record(hold)]
        if late and self.buyers[hold.buyer] + hold.quantity > self.terms.buyer_limit:
            return [Status.LIMIT_REACHED, record(hold)]
        if late and self.stock[hold.item].available < hold.quantity:
            return [Status.SOLD_OUT, record(hold)]
        return self._moved(Status.CAPTURED, Move(order, letter))

    def return_units(self, epoch: int, order: str, buyer: str, letter: str) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if letter not in {"F", "L"}:
            return [Status.BAD_ARGUMENT]
        if refusal := self._of(order, buyer):
            return refusal
        hold = self.holds[order]
        if LETTERS[hold.state] == letter:
            return [Status.ALREADY, record(hold)]
        if LETTERS[hold.state] not in {"F": "SE", "L": "E"}[letter]:
            return [Status.ILLEGAL, record(hold)]
        return self._moved(Status.RETURNED, Move(order, letter))

    def change_item(  # noqa: PLR0911 - likewise
        self, epoch: int, order: str, buyer: str, item: int
    ) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if item < 0:
            return [Status.BAD_ARGUMENT]
        if refusal := self._of(order, buyer):
            return refusal
        hold = self.holds[order]
        deposit = hold.state is OrderState.DEPOSIT_PAID
        if deposit and hold.item == item:
            return [Status.ALREADY, record(hold)]
        if not deposit or self.state == "cancelled":
            return [Status.ILLEGAL, record(hold)]
        if item >= len(self.stock):
            return [Status.UNKNOWN_SKU, record(hold)]
        if self.stock[item].available < hold.quantity:
            return [Status.SOLD_OUT, record(hold)]
        return self._moved(Status.CHANGED, Move(order, "E", "M", item=item))

    def add_item(self, epoch: int, item: int, capacity: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if item < 0 or capacity < 0:
            return [Status.BAD_ARGUMENT]
        if item < len(self.stock):
            return [Status.ALREADY]
        if item > len(self.stock):
            return [Status.ILLEGAL]
        self.stock.append(Stock(capacity, capacity))
        self._append(SaleEvent(EventKind.ITEM_ADDED, f"{item} {capacity}"))
        return [Status.DONE]

    def expire_due(self, epoch: int, limit: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        due = [order for order in self.live() if self.due_ms[order] <= self.now_ms][:limit]
        moves = []
        for order in due:
            hold = self.holds[order]
            goes_on = hold.state is OrderState.PAYING and hold.deadline_ms > self.now_ms
            back = Move(order, "R", "D", due_ms=hold.deadline_ms)
            moves.append(back if goes_on else Move(order, "X"))
        self._move(*moves)
        left = self.live()
        return [Status.DONE, len(due), self.due_ms[left[0]] if left else 0]

    def cancel_holds(self, epoch: int, limit: int) -> list[Any]:
        if refusal := self._foreign(epoch):
            return refusal
        if self.state != "cancelled":
            return [Status.ILLEGAL]
        ended = self.live()[:limit]
        self._move(*(Move(order, "C") for order in ended))
        return [Status.DONE, len(ended)]
