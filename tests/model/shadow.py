"""What a sale has to be: a small model, written from the design and not from the engine.

It knows no store. It is told every event in the order of the stream and refuses those that may
not happen; what is on sale, and what a buyer has, it works out from the orders alone. Instants are
milliseconds of Redis' clock, which every entry tells.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

HOLD_MS = 600_000
#: What an order is by the letter of its last event; `D` gives a payer the hold back.
STATES = {
    "R": "held",
    "P": "paying",
    "D": "held",
    "S": "paid",
    "E": "deposit_paid",
    "M": "deposit_paid",
    "X": "expired",
    "C": "cancelled",
    "J": "rejected",
    "F": "refunded",
    "L": "forfeited",
}
#: From which states an event may come; what else it needs is asked in `_may`.
FROM = {
    "P": {"held"},
    "D": {"paying"},
    "S": {"held", "paying", "expired"},
    "E": {"held", "paying", "expired"},
    "M": {"deposit_paid"},
    "X": {"held", "paying"},
    "C": {"held", "paying"},
    "J": {"held"},
    "F": {"paid", "deposit_paid"},
    "L": {"deposit_paid"},
}
HOMES = {"held": 1, "paying": 2, "paid": 3, "deposit_paid": 3}
WITH_MONEY = frozenset({"paid", "deposit_paid"})
OPEN_ENDED = frozenset({"held", "paying"})


class ImpossibleError(AssertionError):
    """Something that the design forbids has happened."""


@dataclass(frozen=True)
class Order:
    """An order; `due` is when the clock ends its hold or its checkout, None where it does not."""

    buyer: str
    item: int
    quantity: int
    state: str
    version: int
    hold_until: int
    due: int | None

    @property
    def live(self) -> bool:
        return self.state in HOMES


@dataclass(frozen=True)
class Happened:
    """One event of one order."""

    letter: str
    version: int
    order: str
    item: int
    quantity: int
    until: int
    buyer: str


@dataclass
class Shadow:
    """One lane of a sale. `orders` is the truth, `ledger` what is settled of it."""

    kind: str
    capacity: list[int]
    limit: int
    state: str = "open"
    now: int = 0
    retired: bool = False
    orders: dict[str, Order] = field(default_factory=dict)
    ledger: dict[str, Order] = field(default_factory=dict)
    #: Entries by number: the orders that each has left behind.
    log: dict[int, dict[str, Order]] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    #: Entry numbers that no disk has any more.
    lost: set[int] = field(default_factory=set)

    def units(self, item: int) -> tuple[int, int, int, int, int]:
        """Capacity, available, held, paying, sold."""
        homes = Counter[int]()
        for order in self.orders.values():
            if order.item == item and order.live:
                homes[HOMES[order.state]] += order.quantity
        held, paying, sold = homes[1], homes[2], homes[3]
        return self.capacity[item], self.available(item), held, paying, sold

    def available(self, item: int) -> int:
        return self.capacity[item] - sum(
            order.quantity for order in self.orders.values() if order.item == item and order.live
        )

    def of_buyers(self, orders: dict[str, Order] | None = None) -> Counter[str]:
        """Live units by buyer."""
        counts = Counter[str]()
        for order in (self.orders if orders is None else orders).values():
            counts[order.buyer] += order.quantity * order.live
        return +counts

    # What is answered

    def asked(self, order: str, buyer: str, item: int, quantity: int) -> str:
        """The answer to a reservation, in the published order of the checks."""
        known = self.orders.get(order)
        if known is not None:
            same = (known.item, known.quantity) == (item, quantity)
            return "REPLAYED" if same else "KEY_REUSED"
        if self.state in {"closed", "cancelled"}:
            return "SALE_OVER"
        if self.state == "paused":
            return "PAUSED"
        if not 0 <= item < len(self.capacity):
            return "UNKNOWN_SKU"
        if self.of_buyers()[buyer] + quantity > self.limit:
            return "LIMIT_REACHED"
        return "RESERVED" if self.available(item) >= quantity else "SOLD_OUT"

    def overdue(self, now: int) -> list[str]:
        """Orders that the clock ends now."""
        return [name for name, each in self.orders.items() if (each.due or now + 1) <= now]

    def unsettled(self) -> list[int]:
        return sorted(self.log.keys() - self.settled - self.lost)

    # What happens

    def follow(self, seq: int, at_ms: int, events: list[Happened]) -> None:
        """One entry of the stream. Raises ImpossibleError."""
        newest = max([*self.log, *self.lost], default=0)
        if seq != newest + 1:
            raise ImpossibleError(f"entry {seq} comes after entry {newest}")
        self.now = at_ms
        left: dict[str, Order] = {}
        for event in events:
            left[event.order] = self._after(event)
            self.orders[event.order] = left[event.order]
        self.log[seq] = left

    def _after(self, event: Happened) -> Order:
        before = self.orders.get(event.order)
        if event.letter == "R":
            return self._reserved(event, before)
        if before is None:
            raise ImpossibleError(f"{event} of an order that nobody placed")
        why = self._why_not(event, before)
        if why is not None:
            raise ImpossibleError(f"{event} after {before}: {why}")
        state, due = STATES[event.letter], None
        if state == "paying":
            due = self.now  # the checkout's own end is told by whoever looks at it
        elif state == "held":
            due = before.hold_until
        return replace(before, state=state, version=event.version, item=event.item, due=due)

    def _reserved(self, event: Happened, before: Order | None) -> Order:
        if before is not None or event.version != 1:
            raise ImpossibleError(f"{event} of an order that is there: {before}")
        answer = self.asked(event.order, event.buyer, event.item, event.quantity)
        if answer != "RESERVED":
            raise ImpossibleError(f"{event} must be answered {answer}")
        until = self.now + HOLD_MS
        if event.until != until:
            raise ImpossibleError(f"{event} is held until then, and not until {until}")
        return Order(event.buyer, event.item, event.quantity, "held", 1, until, until)

    def _why_not(self, event: Happened, before: Order) -> str | None:
        if event.version != before.version + 1:
            return "a version was left out"
        kept = (before.quantity, before.buyer, before.hold_until)
        if (event.quantity, event.buyer, event.until) != kept:
            return "another buyer, number of units or deadline"
        if event.letter != "M" and event.item != before.item:
            return "another item"
        if before.state not in FROM[event.letter]:
            return "no such transition"
        return self._forbidden(event, before)

    def _forbidden(self, event: Happened, before: Order) -> str | None:
        letter = event.letter
        if letter in {"S", "E"} and (letter == "E") != (self.kind == "preorder"):
            return "a deposit is of a pre-order"
        if letter == "P" and before.hold_until <= self.now:
            return "its time was up"
        if letter == "X" and max(before.due or 0, before.hold_until) > self.now:
            return "its time is not up"
        takes = letter == "M" or before.state == "expired"
        return self._no_room(event, before) if takes else None

    def _no_room(self, event: Happened, before: Order) -> str | None:
        """Why units that the order does not have cannot be had."""
        if self.state == "cancelled":
            return "the sale is called off"
        if self.available(event.item) < event.quantity:
            return "nothing is left"
        has = self.of_buyers()[before.buyer]
        late = before.state == "expired"
        return "above the buyer's limit" if late and has + before.quantity > self.limit else None

    def hold(self, name: str, buyer: str, item: int, quantity: int) -> None:
        """A reservation of the same batch, ahead of its event."""
        until = self.now + HOLD_MS
        self.orders[name] = Order(buyer, item, quantity, "held", 1, until, until)

    # What is kept

    def settle(self, entries: list[int]) -> None:
        """These entries are in Postgres: in any order, and as often as one likes."""
        for seq in entries:
            for name, order in self.log[seq].items():
                known = self.ledger.get(name)
                if known is None or known.version < order.version:
                    self.ledger[name] = order
        self.settled.update(entries)

    def recover(self, survived: list[int], newest: int) -> None:
        """Redis has lost all but these entries, and was filled again with what is settled.

        `newest` is the highest entry number that anybody remembers: it goes on from there.
        """
        self.settle(survived)
        newest = max(newest, *self.settled, 0)
        self.log = {seq: orders for seq, orders in self.log.items() if seq <= newest}
        self.lost = set(range(1, newest + 1)) - self.settled
        self.orders = dict(self.ledger)

    # Beside the stream

    def tell(self, change: str) -> None:
        """A change of the sale itself, as the stream has it. Raises ImpossibleError."""
        kind, _, detail = change.partition("\t")
        over = self.state in {"closed", "cancelled"}
        if kind == "supply":
            _, item, quantity = detail.rsplit(" ", 2)
            if self.available(int(item)) + int(quantity) < 0:
                raise ImpossibleError(f"{change} takes units that buyers have")
            self.capacity[int(item)] += int(quantity)
        elif kind == "item":
            item, units = map(int, detail.split(" "))
            if item != len(self.capacity):  # of a sale that is over, too: it was recorded before
                raise ImpossibleError(f"{change} leaves a number out")
            self.capacity.append(units)
        elif kind in {"pause", "resume", "close"}:
            if over:
                raise ImpossibleError(f"{change} of a sale that is {self.state}")
            self.state = {"pause": "paused", "resume": "open"}.get(kind, detail)
        elif kind not in {"open", "recovered"}:
            raise ImpossibleError(f"nobody has asked for {change}")

    def decide(self, event: Happened) -> None:
        """A change that Postgres has made by itself, once the lanes are gone."""
        if not self.retired:
            raise ImpossibleError(f"{event} is not in the stream")
        self.orders[event.order] = self._after(event)
        self.ledger[event.order] = self.orders[event.order]
