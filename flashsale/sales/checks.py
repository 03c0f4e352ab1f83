"""Rules between the fields of a form, and what a state lets a merchant edit. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from flashsale.domain.money import AMOUNT_MAX
from flashsale.domain.sales import SaleState
from flashsale.domain.stock import SUPPLY_MAX
from flashsale.sales.errors import FieldError, UnsafeEditError, ValidationFailedError
from flashsale.sales.forms import ItemForm, MoneyForm, SaleForm, SalePatch, SupplyForm, pointer
from flashsale.sales.values import SaleFacts, instant

#: How far a merchant's clock may be behind ours before an instant counts as past.
CLOCK_DIFFERENCE_MAX = timedelta(seconds=2)

_NOT_YET = "Not available yet."
_EDITS = {
    SaleState.DRAFT: frozenset(SalePatch.model_fields),
    SaleState.SCHEDULED: frozenset(
        {"name", "starts_at", "ends_at", "per_buyer_limit", "hold_seconds", "published_supply"}
    ),
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
    errors += [*_unavailable(form), *_items(form)]
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
                "An order of per_buyer_limit units would cost more than 2^53 - 1.",
            )
        if item.deposit is not None:
            yield _deposit(pointer("items", number, "deposit"), item)


def _deposit(at: str, item: ItemForm) -> FieldError:
    deposit, price = item.deposit, item.price
    assert deposit is not None
    if deposit.currency != price.currency:
        return FieldError(f"{at}/currency", "Must be the price's currency.")
    if not 0 < deposit.amount <= price.amount:
        return FieldError(f"{at}/amount", "Must be more than 0 and at most the price.")
    return FieldError(at, _NOT_YET)


def _unavailable(form: SaleForm) -> Iterator[FieldError]:
    """What the contract names and this engine does not do yet: refused, never stored unkept."""
    if form.kind != "launch":
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


def check_supply(form: SupplyForm, now: datetime, ends_at: datetime) -> None:
    """Raise ValidationFailedError where a supply says nothing, or is dated outside the sale."""
    errors = []
    if form.quantity == 0:
        errors.append(FieldError("/quantity", f"Must be -{SUPPLY_MAX} to {SUPPLY_MAX}, not 0."))
    if form.at is not None and form.at < now - CLOCK_DIFFERENCE_MAX:
        errors.append(FieldError("/at", "Has passed already."))
    elif form.at is not None and form.at >= ends_at:
        errors.append(FieldError("/at", "Must be before the sale's ends_at."))
    if errors:
        raise ValidationFailedError(errors)


def form_of(sale: SaleFacts) -> SaleForm:
    """The form that would create the sale as it stands; an edit is made on it."""
    return SaleForm(
        name=sale.name,
        kind=sale.kind.value,
        starts_at=instant(sale.starts_at_ms),
        ends_at=instant(sale.ends_at_ms),
        items=[
            ItemForm(
                sku=item.sku,
                name=item.name,
                price=MoneyForm(amount=item.price.amount, currency=item.price.currency),
                supply=item.capacity,
                ships_at=None if item.ships_at_ms is None else instant(item.ships_at_ms),
            )
            for item in sale.items
        ],
        per_buyer_limit=sale.per_buyer_limit,
        hold_seconds=sale.hold_seconds,
        published_supply=sale.published_supply,
        lanes=sale.lanes,
        durability=sale.durability,
    )
