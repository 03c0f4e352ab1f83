"""What is promised to those who pay: the terms of cancelling and of a pre-order, checked. Pure.

Postgres keeps `sales.cancellation` as the form says it, and `sales.preorder` as the members of
`PreorderTerms`, in milliseconds and with what the form left out filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flashsale.domain.sales import SaleKind
from flashsale.sales.errors import FieldError
from flashsale.sales.forms import (
    BalanceForm,
    CancellationForm,
    ItemForm,
    PreorderForm,
    SaleForm,
    pointer,
)
from flashsale.sales.values import CancellationTerms, PreorderTerms, instant, milliseconds

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WINDOW_HOURS = 72
REMINDER_HOURS = 24


def check_promises(form: SaleForm) -> Iterator[FieldError]:
    """Fields that contradict each other, in the order of the form."""
    if form.cancellation.paid == "refused" and form.cancellation.within_minutes is not None:
        yield FieldError("/cancellation/within_minutes", "Belongs to paid: refund.")
    for number, item in enumerate(form.items):
        yield from check_deposit(pointer("items", number), item, SaleKind(form.kind))
    if SaleKind(form.kind) is SaleKind.PREORDER:
        yield from _balance(form, (form.preorder or PreorderForm()).balance)
    elif form.preorder is not None:
        yield FieldError("/preorder", "Belongs to the kind preorder.")


def check_deposit(at: str, item: ItemForm, kind: SaleKind) -> Iterator[FieldError]:
    """What is wrong with an item's deposit; `at` points to the item."""
    deposit, price = item.deposit, item.price
    if deposit is None:
        if kind is SaleKind.PREORDER:
            yield FieldError(f"{at}/deposit", "A pre-order takes a deposit for every item.")
    elif deposit.currency != price.currency:
        yield FieldError(f"{at}/deposit/currency", "Must be the price's currency.")
    elif not 0 < deposit.amount <= price.amount:
        yield FieldError(f"{at}/deposit/amount", "Must be more than 0 and at most the price.")
    elif kind is not SaleKind.PREORDER:
        yield FieldError(f"{at}/deposit", "Belongs to the kind preorder.")


def _balance(form: SaleForm, balance: BalanceForm) -> Iterator[FieldError]:
    at = "/preorder/balance"
    if balance.mode == "on_allocation":
        for name in ("opens_at", "due_at"):
            if getattr(balance, name) is not None:
                yield FieldError(f"{at}/{name}", "Belongs to the mode by_date.")
    else:
        if balance.window_hours is not None:
            yield FieldError(f"{at}/window_hours", "Belongs to the mode on_allocation.")
        if balance.opens_at is None:
            yield FieldError(f"{at}/opens_at", "The mode by_date needs this field.")
        elif balance.opens_at < form.ends_at:
            yield FieldError(f"{at}/opens_at", "Must not be before the sale's ends_at.")
        if balance.due_at is None:
            yield FieldError(f"{at}/due_at", "The mode by_date needs this field.")
        elif balance.opens_at is not None and balance.due_at <= balance.opens_at:
            yield FieldError(f"{at}/due_at", "Must be later than opens_at.")
    if balance.retry_hours > balance.grace_hours:
        yield FieldError(f"{at}/retry_hours", "Must be at most grace_hours.")


def preorder_of(form: SaleForm) -> PreorderTerms | None:
    """The terms of a checked form's pre-order, what was left out filled in."""
    if SaleKind(form.kind) is not SaleKind.PREORDER:
        return None
    preorder = form.preorder or PreorderForm()
    balance = preorder.balance
    opens, due = balance.opens_at, balance.due_at
    if opens is not None and due is not None:
        window_ms = milliseconds(due) - milliseconds(opens)
    else:
        window_ms = _ms(balance.window_hours or WINDOW_HOURS)
    reminder_ms = min(REMINDER_HOURS * HOUR_MS, window_ms // 2)
    if balance.reminder_hours is not None:
        reminder_ms = _ms(balance.reminder_hours)
    return PreorderTerms(
        mode=balance.mode,
        opens_at_ms=None if opens is None else milliseconds(opens),
        due_at_ms=None if due is None else milliseconds(due),
        window_ms=window_ms,
        grace_ms=_ms(balance.grace_hours),
        retry_ms=_ms(balance.retry_hours),
        reminder_ms=reminder_ms,
        on_default=preorder.on_default,
        free_cancel_ms=round(preorder.free_cancel_days * DAY_MS),
    )


def _ms(hours: float) -> int:
    return round(hours * HOUR_MS)


def form_of_preorder(terms: PreorderTerms | None) -> PreorderForm | None:
    """The form that would lead to these terms."""
    if terms is None:
        return None
    by_date = terms.opens_at_ms is not None and terms.due_at_ms is not None
    balance = BalanceForm(
        mode=terms.mode,
        opens_at=None if terms.opens_at_ms is None else instant(terms.opens_at_ms),
        due_at=None if terms.due_at_ms is None else instant(terms.due_at_ms),
        window_hours=None if by_date else terms.window_ms / HOUR_MS,
        grace_hours=terms.grace_ms / HOUR_MS,
        retry_hours=terms.retry_ms / HOUR_MS,
        reminder_hours=terms.reminder_ms / HOUR_MS,
    )
    return PreorderForm(
        balance=balance,
        on_default=terms.on_default,
        free_cancel_days=terms.free_cancel_ms / DAY_MS,
    )


def form_of_cancellation(terms: CancellationTerms) -> CancellationForm:
    """The form that would lead to these terms."""
    return CancellationForm(paid=terms.paid, within_minutes=terms.within_minutes)


def stored_cancellation(form: SaleForm) -> dict[str, Any]:
    """As Postgres keeps it, and as it is shown."""
    return form.cancellation.model_dump(exclude_none=True)


def read_cancellation(stored: Mapping[str, Any]) -> CancellationTerms:
    """What `stored_cancellation` wrote."""
    return CancellationTerms(stored["paid"], stored.get("within_minutes"))
