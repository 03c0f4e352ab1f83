"""Stock balances whatever happens to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.domain.stock import SUPPLY_MAX, Availability, Stock, availability

counts = st.integers(0, SUPPLY_MAX // 4)
stocks = st.builds(
    lambda available, held, paying, sold: Stock(
        available + held + paying + sold, available, held, paying, sold
    ),
    counts,
    counts,
    counts,
    counts,
)
anything = st.integers(-2 * SUPPLY_MAX, 2 * SUPPLY_MAX)


@given(stocks, anything)
def test_a_hold_balances_or_is_refused(stock: Stock, quantity: int):
    after = stock.hold(quantity)
    assert (after is not None) == (1 <= quantity <= stock.available)
    if after is not None:
        assert after.balances()
        assert after.held - stock.held == stock.available - after.available == quantity
        assert after.give_back(quantity) == stock


@given(stocks, anything)
def test_a_supply_balances_or_is_refused(stock: Stock, quantity: int):
    after = stock.supply(quantity)
    fits = stock.available + quantity >= 0 and stock.capacity + quantity <= SUPPLY_MAX
    assert (after is not None) == fits
    if after is not None:
        assert after.balances()
        assert after.capacity - stock.capacity == after.available - stock.available == quantity
        assert (after.held, after.paying, after.sold) == (stock.held, stock.paying, stock.sold)


@given(stocks, st.lists(st.tuples(st.sampled_from(["hold", "supply"]), anything), max_size=20))
def test_it_balances_after_any_history(stock: Stock, history: list[tuple[str, int]]):
    for action, quantity in history:
        stock = getattr(stock, action)(quantity) or stock
        assert stock.balances()


@pytest.mark.parametrize(
    "stock",
    [
        Stock(10, 9),
        Stock(10, 11, held=-1),
        Stock(10, 10, held=1),
        Stock(10, 11, sold=-1),
        Stock(10, 11, paying=-1),
        Stock(-1, -1),
    ],
)
def test_what_does_not_balance_is_seen(stock: Stock):
    assert not stock.balances()


@pytest.mark.parametrize(
    ("available", "capacity", "shown"),
    [
        (0, 100, Availability.SOLD_OUT),
        (0, 0, Availability.SOLD_OUT),
        (1, 100, Availability.LOW),
        (10, 100, Availability.LOW),
        (11, 100, Availability.AVAILABLE),
        (1, 1, Availability.AVAILABLE),
    ],
)
def test_what_the_public_is_told(available: int, capacity: int, shown: Availability):
    assert availability(available, capacity) is shown
