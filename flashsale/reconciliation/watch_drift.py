"""Which SKUs of a cut the two stores count differently. Pure: no order is looked at, only sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flashsale.domain.stock import Stock
from flashsale.reconciliation.cut import Cut, LaneCut
from flashsale.reconciliation.evaluate import Unreturned, entries_of, sum_if_sane
from flashsale.reconciliation.queries import ItemLedger

CAPACITY = "capacity in Redis = capacity in Postgres"
COUNTERS = "available + held + paying + sold = capacity"
ANNOUNCED = "units available = units left as the newest event says"
LIVE = "held + paying + sold in Redis = live in Postgres + unapplied events"
ENTRIES = "entries appended = settled + dead-lettered + waiting in the stream"
REPEATED = "entries with a number seen before = 0"


class Drift(NamedTuple):
    """An equation that does not hold: of one SKU, or where `item` is None of a whole lane.

    `place` is the SKU, or the lane; `left` and `right` are the equation's two sides.
    """

    item: int | None
    place: str
    equation: str
    left: int
    right: int

    @property
    def words(self) -> str:
        """One line."""
        return f"{self.place}: {self.equation}: {self.left} and {self.right}"

    def same(self, other: Drift) -> bool:
        """Whether it is the same equation at the same place, whatever its sides are by now."""
        return self[:3] == other[:3]


def drifts(
    cut: Cut, items: Sequence[ItemLedger], unreturned: Sequence[Unreturned] = ()
) -> list[Drift]:
    """Everything that does not hold; nothing where a lane is not there, which is recovery's.

    `unreturned` are units of rejected orders that Redis has not taken back yet.
    """
    present = [(lane, lane.state) for lane in cut.lanes if lane.state is not None]
    if not cut.whole or any(state.epoch != cut.sale.epoch for _, state in present):
        return []
    found = [drift for lane, _ in present for drift in _of_lane(lane)]
    for item in items:
        stocks = [
            (lane, state.stock[item.item])
            for lane, state in present
            if item.item < len(state.stock)
        ]
        # An item that joined the sale a moment ago is judged once every lane has heard of it.
        if len(stocks) == len(present):
            found += _of_item(cut, item, stocks, unreturned)
    return found


def _of_lane(lane: LaneCut) -> Iterator[Drift]:
    appended, known = entries_of(lane)
    if appended != known:
        yield Drift(None, f"lane {lane.lane}", ENTRIES, appended, known)
    if lane.repeated:
        yield Drift(None, f"lane {lane.lane}", REPEATED, lane.repeated, 0)


def _of_item(
    cut: Cut,
    item: ItemLedger,
    stocks: Sequence[tuple[LaneCut, Stock]],
    unreturned: Sequence[Unreturned],
) -> Iterator[Drift]:
    for lane, stock in stocks:
        if (counted := sum_if_sane(stock)) != stock.capacity:
            yield Drift(item.item, item.sku, COUNTERS, counted, stock.capacity)
        announced = (lane.announced or ())[item.item : item.item + 1]
        if announced and stock.available != announced[0]:
            yield Drift(item.item, item.sku, ANNOUNCED, stock.available, announced[0])
    capacity = sum(stock.capacity for _, stock in stocks)
    if not item.capacity - item.in_transit <= capacity <= item.capacity:
        yield Drift(item.item, item.sku, CAPACITY, capacity, item.capacity)
    units = sum(stock.held + stock.paying + stock.sold for _, stock in stocks)
    live = item.live + cut.coming.units.get(item.item, 0)
    live += sum(order.quantity for order in unreturned if order.item == item.item)
    if units != live:
        yield Drift(item.item, item.sku, LIVE, units, live)
