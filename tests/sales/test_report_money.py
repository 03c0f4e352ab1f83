"""The report's money: what is due, came in and went back, by SKU and state."""

from __future__ import annotations

import itertools

import pytest

from flashsale.sales.report import SaleReport, report
from flashsale.sales.takings import Flow, Takings, Unexplained, total
from flashsale.sales.values import SaleFacts
from flashsale.web import render_merchant
from flashsale.web.schemas_merchant import SaleReport as SaleReportView
from tests.sales.shop import Shop, item
from tests.sales.test_report import order

PRICE = 199900
_PAYMENT = """INSERT INTO payments (id, order_id, sale_id, merchant_id, purpose, attempt, provider,
    amount, currency, state, captured, refunding, refunded, fee, counts, expires_at, applied_at)
    SELECT $1, id, sale_id, 'm', $3, $4, 'sandbox', $5, 'CNY', 'captured', $5, $6, $7, $8, $9,
    now(), now() FROM orders WHERE id = $2"""
_ENTRY = """INSERT INTO ledger_entries (provider, event_id, kind, type, payment_id, sale_id, amount,
    currency, fee, occurred_at, state, payload)
    VALUES ('sandbox', $1, $2::text, $2::text, $3, $4, $5, 'CNY', $6, now(), $7, '{}')"""


class Till:
    """Payments of one sale, each with its rows in the money ledger."""

    def __init__(self, shop: Shop, sale: SaleFacts) -> None:
        self.shop, self.sale = shop, sale
        self.numbers = itertools.count(1)

    async def entry(self, kind: str, payment: str | None, amount: int, fee: int = 0, **more: str):
        event, state = f"evt{next(self.numbers)}", more.get("state", "applied")
        terms = (event, kind, payment, self.sale.id, amount, fee, state)
        await self.shop.pool.execute(_ENTRY, *terms)

    async def order(self, state: str, at: int = 0, quantity: int = 1) -> str:
        """An order of an item; its id."""
        await order(
            self.shop,
            self.sale,
            at_ms=next(self.numbers),
            item=at,
            state=state,
            quantity=quantity,
        )
        return await self.shop.pool.fetchval("SELECT id FROM orders ORDER BY ctid DESC LIMIT 1")

    async def pay(
        self,
        order: str,
        amount: int,
        *,
        purpose: str = "full",
        asked: int = 0,
        back: int = 0,
        fee: int = 0,
        counts: bool = True,
    ) -> None:
        number = next(self.numbers)
        terms = (f"pay{number}", order, purpose, number, amount, asked, back, fee, counts)
        await self.shop.pool.execute(_PAYMENT, *terms)
        await self.entry("captured", f"pay{number}", amount, fee)
        if back:
            await self.entry("refunded", f"pay{number}", back)


@pytest.fixture
async def till(shop: Shop) -> Till:
    items = [item(supply=9), item("b", supply=9)]
    return Till(shop, await shop.scheduled(items=items))


async def read(till: Till) -> SaleReport:
    return await report(till.shop.pool, await till.shop.service.facts(till.sale.id), 0)


def taken(found: SaleReport, at: int) -> dict[str, Takings]:
    return {str(line.state): line.money for line in found.items[at].states}


async def test_by_sku_and_state(till: Till):
    await till.order("confirmed", quantity=2)
    await till.pay(await till.order("paid"), PRICE, fee=1999)
    await till.pay(await till.order("paid"), PRICE, fee=1999, asked=500, back=200)
    await till.pay(await till.order("expired"), PRICE, asked=PRICE, counts=False)
    await till.pay(await till.order("fulfilled", at=1), PRICE)
    found = await read(till)
    flow = Flow(captured=2 * PRICE, refunding=300, refunded=200, fees=3998)
    assert taken(found, 0) == {
        "confirmed": Takings(due=2 * PRICE),
        "expired": Takings(all=Flow(captured=PRICE, refunding=PRICE)),
        "paid": Takings(all=flow),
    }
    assert flow.net == 2 * PRICE - 200
    assert taken(found, 1) == {"fulfilled": Takings(all=Flow(captured=PRICE))}
    assert found.items[0].money.due == 2 * PRICE
    assert found.items[0].money.all.captured == 3 * PRICE
    assert found.money == total(each.money for each in found.items)


async def test_deposits_and_balances_apart(till: Till):
    await till.order("paying")
    await till.pay(await till.order("deposit_paid"), 100, purpose="deposit", fee=1)
    whole = await till.order("paid")
    await till.pay(whole, 100, purpose="deposit", fee=1)
    await till.pay(whole, PRICE - 100, purpose="balance", fee=9)
    await till.pay(await till.order("forfeited"), 100, purpose="deposit")
    found = (await read(till)).items[0]
    assert {str(line.state): line.money.due for line in found.states} == {
        "paying": PRICE,
        "deposit_paid": PRICE - 100,
        "forfeited": 0,
        "paid": 0,
    }
    assert found.money.deposits == Flow(captured=300, fees=2)
    assert found.money.balances == Flow(captured=PRICE - 100, fees=9)
    assert found.money.all == Flow(captured=PRICE + 200, fees=11)


async def test_the_sums_are_the_ledgers(till: Till):
    for at in (0, 1):
        await till.pay(await till.order("paid", at=at), PRICE, fee=7, asked=9, back=9)
        refunded = await till.order("refunded", at=at)
        await till.pay(refunded, PRICE, fee=7, asked=PRICE, back=PRICE)
        await till.pay(refunded, PRICE, asked=PRICE, counts=False)
    await till.entry("captured", None, 5, state="quarantined")
    await till.entry("captured", None, 5, state="unmatched")
    await till.entry("refunded", None, 5, state="received")
    found = await read(till)
    rows = await till.shop.pool.fetch(
        "SELECT kind, sum(amount)::bigint, sum(fee)::bigint FROM ledger_entries"
        " WHERE state = 'applied' GROUP BY kind ORDER BY kind"
    )
    flow = found.money.all
    assert [tuple(row) for row in rows] == [
        ("captured", flow.captured, flow.fees),
        ("refunded", flow.refunded, 0),
    ]
    assert found.unexplained == Unexplained(quarantined=1, unmatched=2)


async def test_another_sales_money_is_not_counted(till: Till, shop: Shop):
    other = Till(shop, await shop.scheduled())
    await other.pay(await other.order("paid"), PRICE)
    await other.entry("captured", None, 5, state="quarantined")
    found = await read(till)
    assert found.money == Takings()
    assert found.unexplained == Unexplained(quarantined=0, unmatched=0)


async def test_as_the_document_says(till: Till):
    await till.order("confirmed")
    await till.pay(await till.order("paid"), PRICE, fee=5, asked=300, back=100)
    shown = render_merchant.report(await read(till))
    SaleReportView.model_validate(shown)
    assert shown["money"]["net"] == {"amount": PRICE - 100, "currency": "CNY"}
    assert shown["money"]["due"]["amount"] == PRICE
    assert shown["money"]["deposits"]["captured"]["amount"] == 0
    assert shown["items"][0]["states"][1]["money"]["refunding"]["amount"] == 200
    assert shown["unexplained"] == {"quarantined": 0, "unmatched": 0}
