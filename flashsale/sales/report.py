"""What happened in a sale, as Postgres has settled it. Never asks Redis: it may lag a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from flashsale.domain.orders import LIVE_STATES, OrderState
from flashsale.domain.sales import SaleState
from flashsale.sales import queries
from flashsale.sales.queries import Pool
from flashsale.sales.takings import (
    Takings,
    TakingsByPlace,
    Unexplained,
    takings_of_sale,
    total,
    unexplained,
)
from flashsale.sales.values import ItemFacts, SaleFacts, Supply
from flashsale.settlement.ledger import Ledger, ReportLine

SUPPLIES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class StateReport:
    """Orders in one state; `amount` is what they are worth, in minor units."""

    state: OrderState
    orders: int
    units: int
    amount: int
    money: Takings


@dataclass(frozen=True, slots=True)
class ItemReport:
    """One SKU. `live_*`: set aside or sold; `sold_out_at_ms` only while nothing is left."""

    sku: str
    name: str
    currency: str
    supply: int
    unsold: int
    live_orders: int
    live_units: int
    live_amount: int
    sold_out_at_ms: int | None
    states: tuple[StateReport, ...]
    money: Takings


@dataclass(frozen=True, slots=True)
class SaleReport:
    """A sale's outcome, ready for JSON. Instants are Unix milliseconds, None where none was.

    `sold_out_at_ms` is when the last SKU's last unit went, if nothing is left of any. All items of
    a sale share one currency, so that their money adds up.
    """

    sale_id: str
    name: str
    state: SaleState
    starts_at_ms: int
    ends_at_ms: int
    durability: str
    items: tuple[ItemReport, ...]
    supplies: tuple[Supply, ...]
    sold_out_at_ms: int | None
    first_order_at_ms: int | None
    last_order_at_ms: int | None
    settlement_lag_max_ms: int | None
    currency: str
    money: Takings
    unexplained: Unexplained


async def report(pool: Pool, sale: SaleFacts, now_ms: int) -> SaleReport:
    """The report of a sale whose facts were just read; `now_ms` decides the state it shows."""
    lines = await Ledger(pool).report(sale.id)
    sold_out = await queries.sold_out_instants(pool, sale)
    instants = await queries.order_instants(pool, sale)
    ids, _ = await queries.page_of_ids(
        pool, "page_of_supplies", sale.id, cursor=None, limit=SUPPLIES_MAX
    )
    money = await takings_of_sale(pool, sale.id)
    by_item = {item: tuple(found) for item, found in groupby(lines, key=lambda line: line.item)}
    return SaleReport(
        sale_id=sale.id,
        name=sale.name,
        state=sale.visible_state(now_ms),
        starts_at_ms=sale.starts_at_ms,
        ends_at_ms=sale.ends_at_ms,
        durability=sale.durability,
        items=tuple(
            _item(item, by_item.get(item.item, ()), money, sold_out.get(item.item))
            for item in sale.items
        ),
        supplies=tuple(await queries.find_supplies(pool, ids)),
        sold_out_at_ms=max(sold_out.values()) if len(sold_out) == len(sale.items) else None,
        first_order_at_ms=instants.first_ms,
        last_order_at_ms=instants.last_ms,
        settlement_lag_max_ms=instants.settlement_lag_max_ms,
        currency=sale.items[0].price.currency,
        money=total(money.values()),
        unexplained=await unexplained(pool, sale.id),
    )


def _item(
    item: ItemFacts, lines: Sequence[ReportLine], money: TakingsByPlace, sold_out_at_ms: int | None
) -> ItemReport:
    live = [line for line in lines if line.state in LIVE_STATES]
    live_units = sum(line.units for line in live)
    return ItemReport(
        sku=item.sku,
        name=item.name,
        currency=item.price.currency,
        supply=item.capacity,
        unsold=item.capacity - live_units,
        live_orders=sum(line.orders for line in live),
        live_units=live_units,
        live_amount=sum(line.amount for line in live),
        sold_out_at_ms=sold_out_at_ms,
        states=tuple(
            StateReport(
                *(line.state, line.orders, line.units, line.amount),
                money.get((item.item, line.state), Takings()),
            )
            for line in lines
        ),
        money=total(part for (number, _), part in money.items() if number == item.item),
    )
