"""Values to JSON, the merchant's side: what the forms said, and what became of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from flashsale.access.api_keys import ApiKeyRecord
from flashsale.domain.stock import Stock
from flashsale.sales.report import ItemReport, SaleReport
from flashsale.sales.takings import Flow, Takings
from flashsale.sales.values import ItemFacts, SaleFacts, Supply
from flashsale.settlement.ledger import BesideOrder, OrderRow
from flashsale.web.render import cancellation, money, preorder, rfc3339, rfc3339_of

CSV_COLUMNS = (
    "id",
    "sku",
    "quantity",
    "state",
    "buyer_id",
    "unit_amount",
    "currency",
    "decided_at",
    "settled_at",
    "hold_expires_at",
    "captured",
    "refunded",
    "carrier",
    "tracking_number",
    "shipped_at",
)
#: How a cell begins that a spreadsheet would calculate.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def sale(facts: SaleFacts, *, stock: Sequence[Stock] | None, now_ms: int) -> dict[str, Any]:
    """A sale with every field of its form; `stock` by item where it is known."""
    return {
        "id": facts.id,
        "revision": facts.revision,
        "state": facts.visible_state(now_ms).value,
        "paused_reason": facts.paused_reason,
        "name": facts.name,
        "kind": facts.kind.value,
        "starts_at": rfc3339(facts.starts_at_ms),
        "ends_at": rfc3339(facts.ends_at_ms),
        "items": [_item(item, stock) for item in facts.items],
        "per_buyer_limit": facts.per_buyer_limit,
        "hold_seconds": facts.hold_seconds,
        "admission": {"mode": "open"},
        "registration": None,
        "cancellation": cancellation(facts.cancellation),
        "preorder": None if facts.preorder is None else preorder(facts.preorder),
        "published_supply": facts.published_supply,
        "lanes": facts.lanes,
        "durability": facts.durability,
        "created_at": rfc3339(facts.created_at_ms),
    }


def _item(item: ItemFacts, stock: Sequence[Stock] | None) -> dict[str, Any]:
    # An item that joined the sale may be unknown to a lane for a moment.
    counted = None if stock is None or item.item >= len(stock) else stock[item.item]
    return {
        "sku": item.sku,
        "name": item.name,
        "price": money(item.price),
        "supply": item.capacity,
        "deposit": None if item.deposit is None else money(item.deposit),
        "ships_at": _instant(item.ships_at_ms),
        "stock": None if counted is None else _stock(counted),
        "shut_reason": item.shut_reason,
    }


def _stock(stock: Stock) -> dict[str, int]:
    return {
        "capacity": stock.capacity,
        "available": stock.available,
        "held": stock.held,
        "paying": stock.paying,
        "sold": stock.sold,
    }


def total(lanes: Iterable[Stock]) -> Stock:
    """The stock of one SKU over all its lanes."""
    counts = [(s.capacity, s.available, s.held, s.paying, s.sold) for s in lanes]
    return Stock(*map(sum, zip(*counts, strict=True)))


def supply(change: Supply) -> dict[str, Any]:
    """A wave, or units taken back."""
    return {
        "id": change.id,
        "sale_id": change.sale_id,
        "sku": change.sku,
        "quantity": change.quantity,
        "at": rfc3339(change.at_ms),
        "reason": change.reason,
        "state": change.state.value,
        "created_at": rfc3339(change.created_at_ms),
        "ships_at": _instant(change.ships_at_ms),
    }


def order(facts: SaleFacts, row: OrderRow) -> dict[str, Any]:
    """A settled order as its merchant sees it."""
    item = facts.items[row.item]
    return {
        "id": row.id,
        "sale_id": row.sale_id,
        "sku": item.sku,
        "quantity": row.quantity,
        "state": row.state.value,
        "buyer_id": row.buyer_id,
        "unit_price": {"amount": row.unit_amount, "currency": item.price.currency},
        "decided_at": rfc3339(row.decided_at_ms),
        "settled_at": rfc3339(row.settled_at_ms),
        "hold_expires_at": rfc3339(row.hold_expires_at_ms),
    }


def order_cells(facts: SaleFacts, row: OrderRow, beside: BesideOrder) -> list[str]:
    """A settled order as a line of CSV, in the order of CSV_COLUMNS; money in minor units."""
    item = facts.items[row.item]
    cells = (
        row.id,
        item.sku,
        row.quantity,
        row.state.value,
        row.buyer_id,
        row.unit_amount,
        item.price.currency,
        rfc3339(row.decided_at_ms),
        rfc3339(row.settled_at_ms),
        rfc3339(row.hold_expires_at_ms),
        beside.captured,
        beside.refunded,
        beside.carrier or "",
        beside.tracking_number or "",
        _instant(beside.shipped_at_ms) or "",
    )
    return [plain_cell(str(cell)) for cell in cells]


def plain_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def report(done: SaleReport) -> dict[str, Any]:
    """What a sale has come to, item by item: orders, units and money in each state."""
    return {
        "sale_id": done.sale_id,
        "name": done.name,
        "state": done.state.value,
        "starts_at": rfc3339(done.starts_at_ms),
        "ends_at": rfc3339(done.ends_at_ms),
        "durability": done.durability,
        "items": [_report_item(item) for item in done.items],
        "supplies": [supply(each) for each in done.supplies],
        "sold_out_at": _instant(done.sold_out_at_ms),
        "first_order_at": _instant(done.first_order_at_ms),
        "last_order_at": _instant(done.last_order_at_ms),
        "settlement_lag_max_ms": done.settlement_lag_max_ms,
        "money": _takings(done.money, done.currency),
        "unexplained": asdict(done.unexplained),
    }


def _report_item(item: ItemReport) -> dict[str, Any]:
    return {
        "sku": item.sku,
        "name": item.name,
        "supply": item.supply,
        "unsold": item.unsold,
        "live_orders": item.live_orders,
        "live_units": item.live_units,
        "live_amount": {"amount": item.live_amount, "currency": item.currency},
        "sold_out_at": _instant(item.sold_out_at_ms),
        "states": [
            {
                "state": each.state.value,
                "orders": each.orders,
                "units": each.units,
                "amount": {"amount": each.amount, "currency": item.currency},
                "money": _takings(each.money, item.currency),
            }
            for each in item.states
        ],
        "money": _takings(item.money, item.currency),
    }


def _takings(taken: Takings, currency: str) -> dict[str, Any]:
    return {
        "due": {"amount": taken.due, "currency": currency},
        **_flow(taken.all, currency),
        "deposits": _flow(taken.deposits, currency),
        "balances": _flow(taken.balances, currency),
    }


def _flow(part: Flow, currency: str) -> dict[str, Any]:
    amounts = {**asdict(part), "net": part.net}
    return {name: {"amount": amount, "currency": currency} for name, amount in amounts.items()}


def _instant(instant_ms: int | None) -> str | None:
    return None if instant_ms is None else rfc3339(instant_ms)


def api_key(record: ApiKeyRecord) -> dict[str, Any]:
    """What may be shown of an API key."""
    return {
        "id": record.id,
        "label": record.label,
        "scope": record.scope.value,
        "prefix": record.prefix,
        "created_at": rfc3339_of(record.created_at),
        "expires_at": None if record.expires_at is None else rfc3339_of(record.expires_at),
        "revoked_at": None if record.revoked_at is None else rfc3339_of(record.revoked_at),
    }
