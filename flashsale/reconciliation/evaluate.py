"""Judges a cut: values in, checks out. Pure; each check is one equation of correctness.md."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flashsale.domain.orders import OrderState, is_live
from flashsale.domain.stock import Stock
from flashsale.reconciliation.cut import Cut, LaneCut
from flashsale.reconciliation.model import HELD_STATES
from flashsale.reconciliation.queries import ItemLedger, Tally
from flashsale.reconciliation.ranges import size
from flashsale.reconciliation.report import Check
from flashsale.reservation.inspector import LaneState

_NAMED_MAX = 3


class Sides(NamedTuple):
    """The two sides of an equation at one place; `name` says where."""

    name: str
    left: int
    right: int


class Unreturned(NamedTuple):
    """Units of a rejected order that Redis has not taken back yet."""

    item: int
    buyer: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Postgres' side at the instant of a cut."""

    items: Sequence[ItemLedger]
    tallies: Sequence[Tally]

    def live_units(self, item: int) -> int:
        """Live units of an item, added up order by order."""
        return sum(row.units for row in self.tallies if row.item == item and is_live(row.state))

    def orders(self, states: Iterable[OrderState]) -> int:
        """How many orders are in one of the states."""
        wanted = frozenset(states)
        return sum(row.orders for row in self.tallies if row.state in wanted)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What INV-18 allows while traffic flows."""

    overdue_ms: int = 30_000
    backlog_ms: int = 60_000


def compare(
    invariant: str,
    equation: str,
    sides: Iterable[Sides],
    *,
    relation: Callable[[int, int], bool] = operator.eq,
) -> Check:
    """One check over several places: sums where all agree, else the first place that does not."""
    sides = list(sides)
    wrong = [side for side in sides if not relation(side.left, side.right)]
    if not wrong:
        left, right = sum(side.left for side in sides), sum(side.right for side in sides)
        return Check(invariant, equation, holds=True, left=left, right=right)
    named = [f"{side.name}: {side.left} and {side.right}" for side in wrong[:_NAMED_MAX]]
    more = f" and {len(wrong) - _NAMED_MAX} more" if len(wrong) > _NAMED_MAX else ""
    first = wrong[0]
    return Check(
        invariant,
        equation,
        holds=False,
        left=first.left,
        right=first.right,
        detail="; ".join(named) + more,
    )


def ledger_checks(cut: Cut, ledger: Ledger) -> list[Check]:
    """What Postgres alone shows."""
    items = ledger.items
    rows = [(f"item {row.item}, {row.state}", row) for row in ledger.tallies]
    return [
        compare(
            "INV-2",
            "live units in Postgres <= capacity",
            (Sides(item.sku, ledger.live_units(item.item), item.capacity) for item in items),
            relation=operator.le,
        ),
        compare(
            "INV-2",
            "the item's live counter = live units of its orders",
            (Sides(item.sku, item.live, ledger.live_units(item.item)) for item in items),
        ),
        compare(
            "INV-8",
            "orders of another sale, item or price than they say = 0",
            (Sides(name, row.misfiled, 0) for name, row in rows),
        ),
        compare(
            "INV-11",
            "orders ended or paid by their first event = 0",
            (Sides(name, row.illegal, 0) for name, row in rows),
        ),
        compare(
            "INV-13",
            "orders reserved outside the sale's window = 0",
            (Sides(name, row.outside, 0) for name, row in rows),
        ),
        _entries_check(cut),
    ]


def limit_check(cut: Cut, most_units: int) -> Check:
    """INV-7 by the largest buyer, the unapplied events counted in.

    Settled out of order, a buyer's new order may stand in Postgres before the end of the last one.
    """
    return compare(
        "INV-7",
        "live units of the largest buyer <= buyer limit",
        [Sides("largest buyer", most_units, cut.sale.per_buyer_limit)],
        relation=operator.le,
    )


def _entries_check(cut: Cut) -> Check:
    """INV-15, by number: every entry ever appended is in exactly one place."""
    return compare(
        "INV-15",
        "entries appended = settled + dead-lettered + waiting in the stream",
        (Sides(f"lane {lane.lane}", *entries_of(lane)) for lane in cut.lanes),
    )


def entries_of(lane: LaneCut) -> tuple[int, int]:
    """INV-15's two sides: entries ever appended, and those that are somewhere."""
    settled = size(lane.ledger.settled)
    if lane.state is None:
        # A retired lane is gone with its counter: what was settled last stands for it.
        newest = max((high - 1 for _, high in lane.ledger.settled), default=0)
        return max(newest, *lane.dead, 0), settled + len(lane.dead)
    return lane.state.seq, settled + len(lane.dead) + lane.waiting


def lane_checks(cut: Cut, bounds: Bounds) -> list[Check]:
    """What each lane shows by itself."""
    present = [(lane, lane.state) for lane in cut.lanes if lane.state is not None]
    placed = [lane for lane, state in present if state.epoch == cut.sale.epoch]
    return [
        compare(
            "INV-9",
            "lanes in Redis, in the sale's epoch = lanes of the sale",
            [Sides("lanes", len(placed), cut.sale.lanes)],
        ),
        compare(
            "INV-1",
            "available + held + paying + sold = capacity, none negative",
            (
                Sides(f"lane {lane.lane}, item {item}", sum_if_sane(stock), stock.capacity)
                for lane, state in present
                for item, stock in enumerate(state.stock)
            ),
        ),
        compare(
            "INV-3",
            "units available = units left as the newest event says",
            (
                Sides(f"lane {lane.lane}, item {item}", stock.available, announced)
                for lane, state in present
                for item, (stock, announced) in enumerate(
                    zip(state.stock, lane.announced or (), strict=False)
                )
            ),
        ),
        compare(
            "INV-3",
            "entries with a number seen before = 0",
            (Sides(f"lane {lane.lane}", lane.repeated, 0) for lane, _ in present),
        ),
        compare(
            "INV-18",
            f"holds overdue by more than {bounds.overdue_ms} ms = 0",
            (Sides(f"lane {lane.lane}", state.overdue, 0) for lane, state in present),
        ),
        compare(
            "INV-18",
            "age of the oldest unsettled entry in ms <= bound",
            (Sides(f"lane {lane.lane}", lane.oldest_ms, bounds.backlog_ms) for lane, _ in present),
            relation=operator.le,
        ),
    ]


def sum_if_sane(stock: Stock) -> int:
    """The sum of the counters, or the worst of them where one is negative."""
    counters = (stock.available, stock.held, stock.paying, stock.sold)
    return min(counters) if min(counters) < 0 else sum(counters)


def cross_checks(cut: Cut, ledger: Ledger, unreturned: Sequence[Unreturned]) -> list[Check]:
    """What both stores show together; for a cut that is whole."""
    states = [lane.state for lane in cut.lanes if lane.state is not None]
    held = ledger.orders(HELD_STATES) + cut.coming.held + len(unreturned)
    known = ledger.orders(OrderState) + len(cut.coming.added)
    return [
        *_capacity_checks(states, ledger),
        compare(
            "INV-4",
            "held + paying + sold in Redis = live in Postgres + unapplied events",
            (
                Sides(
                    item.sku,
                    sum(stock.held + stock.paying + stock.sold for stock in _of(states, item)),
                    ledger.live_units(item.item)
                    + cut.coming.units.get(item.item, 0)
                    + sum(order.quantity for order in unreturned if order.item == item.item),
                )
                for item in ledger.items
            ),
        ),
        compare(
            "INV-9",
            "hold records in Redis = orders in Postgres + new ones in unapplied events",
            [Sides("records", sum(state.hold_records for state in states), known)],
        ),
        compare(
            "INV-9",
            "holds with a deadline in Redis = orders held in Postgres + unapplied events",
            [Sides("holds", sum(state.live_holds for state in states), held)],
        ),
    ]


def _capacity_checks(states: Sequence[LaneState], ledger: Ledger) -> list[Check]:
    """C, all supply given, as both stores count it; Postgres never counts less than Redis."""
    sides = [
        Sides(item.sku, sum(stock.capacity for stock in _of(states, item)), item.capacity)
        for item in ledger.items
    ]
    on_the_way = sum(item.in_transit for item in ledger.items)
    if not on_the_way:
        return [compare("INV-1", "capacity in Redis = capacity in Postgres", sides)]
    least = [
        Sides(side.name, side.left, side.right - item.in_transit)
        for side, item in zip(sides, ledger.items, strict=True)
    ]
    equation = "capacity in Redis {} capacity in Postgres{} (supply is on its way)"
    return [
        compare("INV-1", equation.format("<=", ""), sides, relation=operator.le),
        compare("INV-1", equation.format(">=", " - on its way"), least, relation=operator.ge),
    ]


def _of(states: Sequence[LaneState], item: ItemLedger) -> list[Stock]:
    return [state.stock[item.item] for state in states if item.item < len(state.stock)]
