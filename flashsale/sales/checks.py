"""Rules between the fields of a form, and what a state lets a merchant edit. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from flashsale.domain.money import AMOUNT_MAX, Money
from flashsale.domain.sales import SaleKind, SaleState
from flashsale.domain.stock import SUPPLY_MAX
from flashsale.sales.errors import FieldError, UnsafeEditError, ValidationFailedError
from flashsale.sales.forms import (
    ITEMS_MAX,
    ItemForm,
    MoneyForm,
    SaleForm,
    SalePatch,
    SupplyForm,
    pointer,
)
from flashsale.sales.promises import (
    check_deposit,
    check_promises,
    form_of_cancellation,
    form_of_preorder,
)
from flashsale.sales.values import ItemFacts, SaleFacts, instant

#: How far a merchant's clock may be behind ours before an instant counts as past.
CLOCK_DIFFERENCE_MAX = timedelta(seconds=2)

_TOO_DEAR = "An order of per_buyer_limit units would cost more than 2^53 - 1."
_NOT_YET = "Not available yet."
_KINDS = frozenset({SaleKind.LAUNCH, SaleKind.PREORDER})
_AHEAD = frozenset(
    {
        *("name", "starts_at", "ends_at", "per_buyer_limit", "hold_seconds", "published_supply"),
        *("cancellation", "preorder"),
    }
)
_EDITS = {
    SaleState.DRAFT: frozenset(SalePatch.model_fields),
    # Nobody has ordered yet; whoever orders is kept to what stood there then.
    SaleState.SCHEDULED: _AHEAD,
    SaleState.OPEN: frozenset({"name", "ends_at", "per_buyer_limit", "published_supply"}),
    SaleState.PAUSED: frozenset({"name", "ends_at", "per_buyer_limit", "published_supply"}),
    SaleState.CLOSED: frozenset[str](),
    SaleState.CANCELLED: frozenset[str](),
}


def check_sale(
    form: SaleForm, now: datetime, *, hold_seconds_min: int, named: frozenset[str] | None = None
) -> None:
    """Raise ValidationFailedError where fields contradict each other or the instant `now`.

    `named`: the fields an edit names; instants it does not name may have passed meanwhile.
    """
    named = frozenset(SaleForm.model_fields) if named is None else named
    errors = [*_times(form, now, named), *_limits(form, named, hold_seconds_min)]
    errors += [*_unavailable(form), *_items(form), *check_promises(form)]
    if errors:
        raise ValidationFailedError(errors)


def _times(form: SaleForm, now: datetime, named: frozenset[str]) -> Iterator[FieldError]:
    if "starts_at" in named and form.starts_at < now - CLOCK_DIFFERENCE_MAX:
        yield FieldError("/starts_at", "Has passed already.")
    if form.ends_at <= form.starts_at:
        yield FieldError("/ends_at", "Must be later than starts_at.")
    elif "ends_at" in named and form.ends_at <= now:
        yield FieldError("/ends_at", "Has passed already.")


def _limits(form: SaleForm, named: frozenset[str], hold_seconds_min: int) -> Iterator[FieldError]:
    supply = sum(item.supply for item in form.items)
    if named & {"per_buyer_limit", "items"} and form.per_buyer_limit > supply:
        yield FieldError("/per_buyer_limit", "Is more than the whole supply.")
    if "hold_seconds" in named and form.hold_seconds < hold_seconds_min:
        yield FieldError(
            "/hold_seconds", f"Must be at least {hold_seconds_min}, or nobody could pay in time."
        )


def _items(form: SaleForm) -> Iterator[FieldError]:
    seen: set[str] = set()
    for number, item in enumerate(form.items):
        if item.sku in seen:
            yield FieldError(pointer("items", number, "sku"), "Stands for another item already.")
        seen.add(item.sku)
        if item.price.currency != form.items[0].price.currency:
            yield FieldError(
                pointer("items", number, "price", "currency"), "All prices share one currency."
            )
        if item.price.amount * form.per_buyer_limit > AMOUNT_MAX:
            yield FieldError(
                pointer("items", number, "price", "amount"),
                _TOO_DEAR,
            )


def _unavailable(form: SaleForm) -> Iterator[FieldError]:
    """What the contract names and this engine does not do yet: refused, never stored unkept."""
    if form.kind not in _KINDS:
        yield FieldError("/kind", _NOT_YET)
    if form.admission.mode != "open":
        yield FieldError("/admission/mode", _NOT_YET)
    for name in ("rate_per_second", "prequeue_opens_at", "shuffle"):
        if getattr(form.admission, name) is not None:
            yield FieldError(f"/admission/{name}", "Belongs to the mode queue.")
    if form.registration is not None:
        if form.registration.closes_at <= form.registration.opens_at:
            yield FieldError("/registration/closes_at", "Must be later than opens_at.")
        else:
            yield FieldError("/registration", _NOT_YET)


def check_edit(patch: SalePatch, state: SaleState, current: SaleForm) -> None:
    """Raise UnsafeEditError where a field may not change in the state the public sees."""
    fixed = patch.model_fields_set - _EDITS[state]
    errors = [
        FieldError(pointer(name), f"Cannot change while the sale is {state}.")
        for name in sorted(fixed)
    ]
    limit = patch.per_buyer_limit
    if (
        state in {SaleState.OPEN, SaleState.PAUSED}
        and limit is not None
        and limit < current.per_buyer_limit
    ):
        # Buyers who already hold more than a lower limit would break it through no fault of theirs.
        errors.append(FieldError("/per_buyer_limit", "Can only be raised once the sale is open."))
    if errors:
        raise UnsafeEditError(errors)


def check_supply(
    form: SupplyForm, now: datetime, ends_at: datetime, *, waves: bool = False
) -> None:
    """Raise ValidationFailedError where a supply says nothing, or is dated outside the sale.

    `waves`: the sale is a pre-order, whose supplies may promise a date of their own.
    """
    errors = []
    if form.quantity == 0:
        errors.append(FieldError("/quantity", f"Must be -{SUPPLY_MAX} to {SUPPLY_MAX}, not 0."))
    if form.at is not None and form.at < now - CLOCK_DIFFERENCE_MAX:
        errors.append(FieldError("/at", "Has passed already."))
    elif form.at is not None and form.at >= ends_at:
        errors.append(FieldError("/at", "Must be before the sale's ends_at."))
    if form.ships_at is not None and (form.quantity < 0 or not waves):
        errors.append(FieldError("/ships_at", "Belongs to a wave of a pre-order."))
    elif form.ships_at is not None and form.ships_at <= now:
        errors.append(FieldError("/ships_at", "Has passed already."))
    if errors:
        raise ValidationFailedError(errors)


def check_new_item(form: ItemForm, sale: SaleFacts) -> None:
    """Raise ValidationFailedError where a SKU does not fit into a sale that is under way."""
    errors = [*check_deposit("", form, sale.kind)]
    if form.price.currency != sale.items[0].price.currency:
        errors.append(FieldError("/price/currency", "All prices share one currency."))
    if form.price.amount * sale.per_buyer_limit > AMOUNT_MAX:
        errors.append(FieldError("/price/amount", _TOO_DEAR))
    if len(sale.items) >= ITEMS_MAX:
        errors.append(FieldError("/sku", f"A sale has at most {ITEMS_MAX} items."))
    if errors:
        raise ValidationFailedError(errors)


def form_of(sale: SaleFacts) -> SaleForm:
    """The form that would create the sale as it stands; an edit is made on it."""
    return SaleForm(
        name=sale.name,
        kind=sale.kind.value,
        starts_at=instant(sale.starts_at_ms),
        ends_at=instant(sale.ends_at_ms),
        items=[form_of_item(item) for item in sale.items],
        per_buyer_limit=sale.per_buyer_limit,
        hold_seconds=sale.hold_seconds,
        cancellation=form_of_cancellation(sale.cancellation),
        preorder=form_of_preorder(sale.preorder),
        published_supply=sale.published_supply,
        lanes=sale.lanes,
        durability=sale.durability,
    )


def form_of_item(item: ItemFacts) -> ItemForm:
    """The form that would give a sale this item."""
    return ItemForm(
        sku=item.sku,
        name=item.name,
        price=_money(item.price),
        supply=item.capacity,
        deposit=None if item.deposit is None else _money(item.deposit),
        ships_at=None if item.ships_at_ms is None else instant(item.ships_at_ms),
    )


def _money(money: Money) -> MoneyForm:
    return MoneyForm(amount=money.amount, currency=money.currency)
