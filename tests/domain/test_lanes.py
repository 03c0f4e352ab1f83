"""Lanes split a sale without losing a unit or moving a buyer."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from flashsale.domain.lanes import LANES_MAX, lane_of, split
from flashsale.domain.stock import SUPPLY_MAX

PINNED = [3, 0, 4, 4]
lane_counts = st.integers(1, LANES_MAX)


@given(st.integers(-SUPPLY_MAX, SUPPLY_MAX), lane_counts)
def test_shares_sum_to_the_whole_and_are_even(quantity: int, lanes: int):
    shares = split(quantity, lanes)
    assert len(shares) == lanes
    assert sum(shares) == quantity
    assert max(shares) - min(shares) <= 1
    assert all(share * quantity >= 0 for share in shares), "no lane gains while others lose"


@given(st.text(max_size=40), lane_counts)
def test_a_buyer_has_one_lane_in_range(buyer: str, lanes: int):
    assert lane_of(buyer, lanes) == lane_of(buyer, lanes)
    assert 0 <= lane_of(buyer, lanes) < lanes


def test_a_buyers_lane_is_the_same_in_every_version():
    """A change would part buyers of a running sale from their holds."""
    assert [lane_of(buyer, 8) for buyer in ("ann", "bob", "cid", "李雷")] == PINNED


def test_buyers_spread_evenly():
    count = Counter(lane_of(f"buyer-{number}", 8) for number in range(80_000))
    assert all(9_500 < count[lane] < 10_500 for lane in range(8))
