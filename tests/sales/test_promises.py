"""What is promised to those who pay: which forms are refused, and what a good one comes to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flashsale.domain.money import Money
from flashsale.domain.sales import SaleKind
from flashsale.sales.checks import check_new_item, check_sale, form_of
from flashsale.sales.errors import UnsafeEditError, ValidationFailedError
from flashsale.sales.forms import ItemForm, SaleForm, parse_form
from flashsale.sales.promises import DAY_MS, HOUR_MS, form_of_preorder, preorder_of
from flashsale.sales.values import CancellationTerms
from tests.sales.shop import Shop, body, item

NOW = datetime(2026, 11, 11, 10, 0, tzinfo=UTC)
BASE = body(starts_at="2026-11-11T10:00:00.000Z", ends_at="2026-11-11T11:00:00.000Z")
DEPOSIT = {"amount": 100, "currency": "CNY"}
BY_DATE = {
    "mode": "by_date",
    "opens_at": "2026-12-01T00:00:00Z",
    "due_at": "2026-12-11T00:00:00Z",
}


def preorder(**changes: Any) -> dict[str, Any]:
    return BASE | {"kind": "preorder", "items": [item(deposit=DEPOSIT)]} | changes


def balance(**changes: Any) -> dict[str, Any]:
    return preorder(preorder={"balance": changes})


def faults(form: dict[str, Any]) -> list[str]:
    try:
        check_sale(parse_form(SaleForm, form), NOW, hold_seconds_min=1)
    except ValidationFailedError as refusal:
        return [error.pointer for error in refusal.errors]
    return []


GOOD = {
    "a pre-order that says no more": preorder(),
    "the whole price as deposit": preorder(
        items=[item(deposit={"amount": 199900, "currency": "CNY"})]
    ),
    "by a date": balance(**BY_DATE),
    "a date as the sale ends": balance(**BY_DATE | {"opens_at": "2026-11-11T11:00:00Z"}),
    "windows of seconds": balance(window_hours=0.001, grace_hours=0.002, retry_hours=0.001),
    "no reminder": balance(reminder_hours=0),
    "whole hours": balance(window_hours=24, grace_hours=24, retry_hours=24, reminder_hours=1),
    "forfeits": preorder(preorder={"on_default": "forfeit", "free_cancel_days": 0}),
    "no way back": BASE | {"cancellation": {"paid": "refused"}},
    "a way back for an hour": BASE | {"cancellation": {"paid": "refund", "within_minutes": 60}},
}


@pytest.mark.parametrize("form", GOOD.values(), ids=GOOD)
def test_accepts(form):
    assert faults(form) == []


BAD = {
    "deposit above price": (
        preorder(items=[item(deposit={"amount": 199901, "currency": "CNY"})]),
        "/items/0/deposit/amount",
    ),
    "deposit of nothing": (
        preorder(items=[item(deposit={"amount": 0, "currency": "CNY"})]),
        "/items/0/deposit/amount",
    ),
    "deposit in other money": (
        preorder(items=[item(deposit={"amount": 1, "currency": "EUR"})]),
        "/items/0/deposit/currency",
    ),
    "deposit at a launch": (BASE | {"items": [item(deposit=DEPOSIT)]}, "/items/0/deposit"),
    "no deposit": (preorder(items=[item(deposit=DEPOSIT), item("b")]), "/items/1/deposit"),
    "balance at a launch": (BASE | {"preorder": {}}, "/preorder"),
    "by no date": (balance(**BY_DATE | {"due_at": None}), "/preorder/balance/due_at"),
    "from no date": (balance(**BY_DATE | {"opens_at": None}), "/preorder/balance/opens_at"),
    "due before it opens": (
        balance(**BY_DATE | {"due_at": "2026-12-01T00:00:00Z"}),
        "/preorder/balance/due_at",
    ),
    "due while deposits are taken": (
        balance(**BY_DATE | {"opens_at": "2026-11-11T10:59:59Z"}),
        "/preorder/balance/opens_at",
    ),
    "a naive date": (
        balance(**BY_DATE | {"due_at": "2026-12-11T00:00:00"}),
        "/preorder/balance/due_at",
    ),
    "a window by date": (
        balance(**BY_DATE | {"window_hours": 1}),
        "/preorder/balance/window_hours",
    ),
    "a date on allocation": (
        balance(due_at="2026-12-11T00:00:00Z"),
        "/preorder/balance/due_at",
    ),
    "no window": (balance(window_hours=0), "/preorder/balance/window_hours"),
    "a window as truth": (balance(window_hours=True), "/preorder/balance/window_hours"),
    "a window as text": (balance(window_hours="72"), "/preorder/balance/window_hours"),
    "endless grace": (balance(grace_hours=8_785), "/preorder/balance/grace_hours"),
    "retries after the grace": (
        balance(grace_hours=1, retry_hours=2),
        "/preorder/balance/retry_hours",
    ),
    "unknown mode": (balance(mode="some day"), "/preorder/balance/mode"),
    "unknown default": (preorder(preorder={"on_default": "keep"}), "/preorder/on_default"),
    "unknown member": (preorder(preorder={"lots": 1}), "/preorder/lots"),
    "a year of freedom and more": (
        preorder(preorder={"free_cancel_days": 367}),
        "/preorder/free_cancel_days",
    ),
    "refused within a time": (
        BASE | {"cancellation": {"paid": "refused", "within_minutes": 1}},
        "/cancellation/within_minutes",
    ),
    "no minutes": (BASE | {"cancellation": {"within_minutes": 0}}, "/cancellation/within_minutes"),
    "unknown cancellation": (BASE | {"cancellation": {"paid": "never"}}, "/cancellation/paid"),
}


@pytest.mark.parametrize(("form", "pointer"), BAD.values(), ids=BAD)
def test_refuses_and_names_the_field(form, pointer):
    assert faults(form) == [pointer]


def test_what_a_preorder_does_not_say_is_filled_in():
    terms = preorder_of(parse_form(SaleForm, preorder()))
    assert terms is not None
    assert (terms.mode, terms.opens_at_ms, terms.due_at_ms) == ("on_allocation", None, None)
    assert [terms.window_ms, terms.grace_ms, terms.retry_ms, terms.reminder_ms] == [
        hours * HOUR_MS for hours in (72, 72, 24, 24)
    ]
    assert (terms.on_default, terms.free_cancel_ms) == ("refund", 14 * DAY_MS)
    assert preorder_of(parse_form(SaleForm, BASE)) is None


@pytest.mark.parametrize("form", [form for form in GOOD.values() if form["kind"] == "preorder"])
def test_terms_and_form_lead_to_each_other(form):
    sent = parse_form(SaleForm, form)
    terms = preorder_of(sent)
    again = sent.model_copy(update={"preorder": form_of_preorder(terms)})
    assert preorder_of(again) == terms


async def test_promises_are_kept_in_postgres(shop: Shop):
    sale = await shop.draft(
        kind="preorder",
        items=[item(deposit=DEPOSIT)],
        cancellation={"paid": "refund", "within_minutes": 90},
        preorder={"on_default": "forfeit", "balance": {"window_hours": 1.5}},
    )
    assert sale.kind is SaleKind.PREORDER
    assert sale.cancellation == CancellationTerms("refund", 90)
    assert sale.items[0].deposit == sale.items[0].due_now == Money(100, "CNY")
    assert sale.preorder is not None
    assert (sale.preorder.on_default, sale.preorder.window_ms) == ("forfeit", 5_400_000)
    plain = await shop.draft()
    assert (plain.preorder, plain.cancellation) == (None, CancellationTerms())
    assert plain.items[0].due_now == plain.items[0].price


async def test_promises_change_until_the_sale_opens(shop: Shop):
    sale = await shop.draft(kind="preorder", items=[item(deposit=DEPOSIT)])
    edited = await shop.patch(
        sale, preorder={"on_default": "forfeit"}, cancellation={"paid": "refused"}
    )
    assert edited.preorder is not None
    assert (edited.preorder.on_default, edited.cancellation.paid) == ("forfeit", "refused")
    back = await shop.patch(edited, preorder=None)
    assert back.preorder is not None
    assert back.preorder.on_default == "refund"
    launch = await shop.patch(back, kind="launch", preorder=None, items=[item()])
    assert (launch.kind, launch.preorder) == (SaleKind.LAUNCH, None)
    opened = await shop.scheduled(kind="preorder", items=[item(deposit=DEPOSIT)])
    for change in ({"preorder": {}}, {"cancellation": {"paid": "refused"}}):
        with pytest.raises(UnsafeEditError):
            await shop.patch(opened, **change)


async def test_a_form_as_it_stands_is_the_same_sale(shop: Shop):
    sale = await shop.draft(kind="preorder", items=[item(deposit=DEPOSIT)])
    assert preorder_of(form_of(sale)) == sale.preorder
    assert form_of(sale).items[0].deposit is not None


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"deposit": DEPOSIT}, "/deposit"),
        ({"price": {"amount": 1, "currency": "EUR"}}, "/price/currency"),
        ({"price": {"amount": 2**53 - 1, "currency": "CNY"}}, "/price/amount"),
    ],
)
async def test_a_new_item_must_fit_the_sale(shop: Shop, changes, pointer):
    sale = await shop.draft()
    form = parse_form(ItemForm, item("new", **changes))
    with pytest.raises(ValidationFailedError) as refusal:
        check_new_item(form, sale)
    assert [error.pointer for error in refusal.value.errors] == [pointer]
    full = replace(sale, items=sale.items * 100)
    with pytest.raises(ValidationFailedError):
        check_new_item(parse_form(ItemForm, item("new")), full)
