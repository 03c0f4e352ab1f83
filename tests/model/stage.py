"""One sale of the world beside its model: looks at both stores and holds them to the model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from flashsale.reservation.keys import LaneKeys, lane_keys
from flashsale.sales.forms import SaleForm, parse_form
from flashsale.sales.queries import find_sale
from flashsale.sales.values import SaleFacts
from tests.model.shadow import HOLD_MS, STATES, Happened, Order, Shadow
from tests.model.whole import Whole
from tests.model.world import World
from tests.sales.shop import body, item

PRICE, DEPOSIT = 1000, 100
#: What becomes of a deposit in Postgres alone, in this order; to Redis they are one.
BEHIND_DEPOSIT = ("deposit_paid", "allocated", "balance_due", "paid")
OWING = frozenset({"allocated", "balance_due"})
_BALANCE = {"window_hours": 1, "grace_hours": 1, "retry_hours": 1}
CHECKOUT_MS = 910_000
#: What Postgres calls an order that Redis holds; all else has one name.
_IN_POSTGRES = {"held": "confirmed"}
_LETTER_OF = {state: letter for letter, state in reversed(STATES.items())}
_COUNTERS = ("capacity", "available", "held", "paying", "sold")
_ROWS = """SELECT id, state, version, item, quantity, buyer_id, closing FROM orders
    WHERE sale_id = $1"""
_ITEMS = "SELECT capacity, live FROM sale_items WHERE sale_id = $1 ORDER BY item"
_LANES = """SELECT l.lane, l.settled, l.lost, (SELECT count(*) FROM dead_letters d
    WHERE d.sale_id = l.sale_id) AS dead FROM lanes l WHERE l.sale_id = $1"""


@dataclass
class Stage:
    """A sale, its model, and what the last look has found."""

    world: World
    shadow: Whole
    sale: SaleFacts
    #: The newest entry that was looked at, by lane.
    last_ids: dict[int, str] = field(default_factory=dict)
    ahead: int = 0
    closing: dict[str, str] = field(default_factory=dict)
    #: How far a pre-order has got in Postgres since its deposit was settled.
    behind: dict[str, str] = field(default_factory=dict)

    @staticmethod
    async def open(
        world: World, kind: str, capacity: list[int], limit: int, lanes: int, on_default: str
    ) -> Stage:
        """A sale that has just opened."""
        await world.begin()
        form = body(
            kind=kind,
            items=[item_of(kind, number, supply) for number, supply in enumerate(capacity)],
            per_buyer_limit=limit,
            hold_seconds=HOLD_MS // 1000,
            ends_at="2039-01-01T00:00:00.000Z",
            preorder={"balance": _BALANCE, "on_default": on_default}
            if kind == "preorder"
            else None,
            lanes=lanes,
        )
        draft = await world.service.create(world.merchant, parse_form(SaleForm, form))
        sale = await world.service.schedule(world.merchant, draft.id)
        return Stage(world, Whole.of(kind, capacity, limit, lanes), sale)

    @property
    def state(self) -> str:
        """What the sale is meant to be; its lanes are told of it one after the other."""
        return {"scheduled": "open"}.get(self.sale.state.value, self.sale.state.value)

    def keys(self, lane: int) -> LaneKeys:
        return lane_keys(self.sale.id, lane)

    def place(self, lane: int) -> tuple[str, int, int]:
        return self.sale.id, lane, self.sale.epoch

    async def look_again(self) -> None:
        """Take the sale's facts as they are now, as every process does when it is told."""
        sale = await find_sale(self.world.pool, self.sale.id)
        assert sale is not None
        self.sale = sale
        self.world.board.forget(sale.id)

    async def check(self) -> None:
        """Read both stores and compare them with the model: after every rule."""
        rows = {row["id"][12:]: row for row in await self.world.pool.fetch(_ROWS, self.sale.id)}
        if self.shadow.retired:
            self._follow_rows(rows)
        else:
            for number, lane in enumerate(self.shadow.lanes):
                await self._check_lane(number, lane)
        self.closing = {name: row["closing"] for name, row in rows.items() if row["closing"]}
        await self._check_postgres(rows)
        self._take_behind(rows)

    async def _check_lane(self, number: int, shadow: Shadow) -> None:
        keys = self.keys(number)
        after = f"({self.last_ids[number]}" if number in self.last_ids else "-"
        async with self.world.redis.pipeline(transaction=True) as together:
            together.hgetall(keys.meta)
            together.hgetall(keys.stock)
            together.hgetall(keys.holds)
            together.zrange(keys.deadlines, 0, -1, withscores=True)
            together.hgetall(keys.buyers)
            together.xrange(keys.events, after, "+")
            meta, stock, holds, deadlines, buyers, entries = await together.execute()
        due = {name: int(score) for name, score in deadlines}
        for entry_id, fields in entries:
            _follow(shadow, fields)
            self.last_ids[number] = entry_id
        _take_checkouts(shadow, due)
        # INV-1, INV-3: the counters are what the events have made of them, and add up.
        items = range(len(shadow.capacity))
        counted = [tuple(int(stock[f"{name}:{at}"]) for name in _COUNTERS) for at in items]
        _same("INV-1, INV-3: stock", counted, [shadow.units(at) for at in items])
        assert all(min(shadow.units(at)) >= 0 for at in items), "INV-1"
        # INV-5, INV-10, INV-11: every record is the order's newest state, and there is no other.
        records = {name: _order_of(record, due.get(name)) for name, record in holds.items()}
        _same("INV-5, INV-9, INV-11: records", records, shadow.orders)
        counts = Counter({buyer: int(count) for buyer, count in buyers.items()})
        _same("INV-7: counts", +counts, shadow.of_buyers())
        assert max(counts.values(), default=0) <= shadow.limit, "INV-7: limit"
        _same("state", meta["state"], shadow.state)
        newest = max([*shadow.log, *shadow.lost], default=0)
        _same("INV-15: numbers", int(meta["seq"]), newest)

    def _follow_rows(self, rows: dict[str, asyncpg.Record]) -> None:
        """Without lanes Postgres alone decides: each step of a row is one of the model's."""
        shadow = self.shadow.deciding[0]
        for name, row in rows.items():
            known = shadow.orders[name]
            state = {"confirmed": "held"}.get(self._plain(row), self._plain(row))
            if (row["version"], state) == (known.version, known.state):
                continue
            units = row["item"], row["quantity"], known.hold_until, row["buyer_id"]
            letter = "M" if state == known.state else _LETTER_OF[state]
            shadow.decide(Happened(letter, row["version"], name, *units))

    def _plain(self, row: asyncpg.Record) -> str:
        """An order's state as far as its units are concerned."""
        preorder = self.shadow.lanes[0].kind == "preorder"
        return "deposit_paid" if preorder and row["state"] in BEHIND_DEPOSIT else row["state"]

    def _take_behind(self, rows: dict[str, asyncpg.Record]) -> None:
        """Of a pre-order that is allocated, or fully paid, nothing is taken back."""
        for name, row in rows.items():
            before, state = self.behind.get(name, BEHIND_DEPOSIT[0]), row["state"]
            if state in BEHIND_DEPOSIT and self._plain(row) == "deposit_paid":
                far = BEHIND_DEPOSIT.index
                assert far(state) >= far(before), f"INV-11: {name} was {before}, is {state}"
                self.behind[name] = state
            elif state == "forfeited":
                assert before in OWING, f"{name} was {before}, and its deposit is forfeited"

    async def _check_postgres(self, rows: dict[str, asyncpg.Record]) -> None:
        shadow, pool = self.shadow, self.world.pool
        # INV-4, INV-6, INV-8, INV-9: a row is what the settled events have made of it.
        wanted = {name: _row_of(order) for name, order in shadow.ledger.items()}
        names = ("version", "item", "quantity", "buyer_id")
        found = {
            name: (self._plain(row), *(row[each] for each in names)) for name, row in rows.items()
        }
        _same("INV-4, INV-6, INV-8, INV-9: rows", found, wanted)
        live = Counter[int]()
        for order in shadow.ledger.values():
            live[order.item] += order.quantity * order.live
        for at, row in enumerate(await pool.fetch(_ITEMS, self.sale.id)):
            assert row["live"] == live[at], "INV-2: the live counter"
            assert row["live"] <= row["capacity"], "INV-2"
        for row in await pool.fetch(_LANES, self.sale.id):
            lane = shadow.lanes[row["lane"]]
            assert row["dead"] == 0, "INV-15: an entry was put aside"
            _same("INV-15: settled", _numbers(row["settled"]), lane.settled)
            assert lane.lost <= _numbers(row["lost"]) | lane.settled, "INV-15: lost"
        if not shadow.unsettled():
            has = Counter[str]()
            for order in shadow.ledger.values():
                has[order.buyer] += order.quantity * order.live
            assert max(has.values(), default=0) <= shadow.lanes[0].limit, "INV-7"


def _follow(shadow: Shadow, fields: dict[str, str]) -> None:
    events: list[Happened] = []
    for line in fields["events"].split("\n"):
        parts = line.split("\t")
        if parts[0] in STATES:
            version, order, *numbers, buyer = parts[1:]
            event = Happened(parts[0], int(version), order, *map(int, numbers), buyer)
            events.append(event)
        else:
            shadow.tell(line)
    shadow.follow(int(fields["seq"]), int(fields["at_ms"]), events)


def _take_checkouts(shadow: Shadow, due: dict[str, int]) -> None:
    """When a checkout ends is the payment's business; that it ends is ours."""
    for name, order in shadow.orders.items():
        if order.state == "paying" and order.due != due.get(name):
            assert name in due, "INV-18: a checkout that nothing ends"
            assert due[name] <= shadow.now + CHECKOUT_MS, "a checkout that goes on for ever"
            shadow.orders[name] = replace(order, due=due[name])


def item_of(kind: str, number: int, supply: int) -> dict[str, Any]:
    """A SKU as the merchant's form has it."""
    price = {"amount": PRICE, "currency": "CNY"}
    if kind != "preorder":
        return item(f"sku-{number}", supply, price=price)
    deposit = {"amount": DEPOSIT, "currency": "CNY"}
    ships = "2040-03-01T00:00:00.000Z"
    return item(f"sku-{number}", supply, price=price, deposit=deposit, ships_at=ships)


def _same(what: str, found: object, wanted: object) -> None:
    assert found == wanted, f"{what}\n   found {found}\n  wanted {wanted}"


def _numbers(ranges: object) -> set[int]:
    return {number for each in ranges or () for number in range(each.lower, each.upper)}


def _order_of(record: str, due: int | None) -> Order:
    letter, version, number, quantity, until, buyer = record.split(":", 5)
    units = int(number), int(quantity)
    return Order(buyer, *units, STATES[letter], int(version), int(until), due)


def _row_of(order: Order) -> tuple[str, int, int, int, str]:
    state = _IN_POSTGRES.get(order.state, order.state)
    return state, order.version, order.item, order.quantity, order.buyer
