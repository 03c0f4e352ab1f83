"""The arithmetic of a limit, held to what a limit promises, and a process' share held to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.limits.gcra import Rate, divided, take
from flashsale.limits.limiter import Limiter

RATES = st.builds(Rate, milli=st.integers(1, 10**9), burst=st.integers(1, 10**6))
#: Steps of time in microseconds, and what is asked for after each.
ASKS = st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 1000)), min_size=1, max_size=60)


@given(rate=RATES, asks=ASKS)
def test_no_window_admits_more_than_the_burst_and_its_time(rate: Rate, asks):
    tat = now = 0
    granted: list[tuple[int, int]] = []
    for step, asked in asks:
        now += step
        taken = take(tat, now, asked, rate)
        tat = taken.tat_us
        assert 0 <= taken.granted <= asked
        assert (taken.wait_us == 0) == (taken.granted == asked)
        granted.append((now, taken.granted))
    for begin, (since, _) in enumerate(granted):
        total = 0
        for until, units in granted[begin:]:
            total += units
            assert total <= rate.burst + (until - since) * rate.milli / 1e9 + 1e-3


@given(rate=RATES, asks=ASKS)
def test_the_wait_is_exact(rate: Rate, asks):
    """A moment earlier there is nothing, at that moment there is one unit."""
    tat = now = 0
    for step, asked in asks:
        now += step
        taken = take(tat, now, asked, rate)
        tat = taken.tat_us
        if taken.wait_us > 1:
            assert take(tat, now + taken.wait_us + 1, 1, rate).granted == 1
            assert take(tat, now + taken.wait_us - 2, 1, rate).granted == 0


def test_an_unused_pot_is_full_whatever_it_was():
    rate = Rate(milli=1000, burst=5)
    tat = take(0, 10**9, 5, rate).tat_us
    assert take(tat, 10**9, 1, rate).granted == 0
    assert take(tat, tat, 9, rate) == take(0, tat, 9, rate)
    assert take(tat, tat, 9, rate).granted == 5


@given(
    per_second=st.integers(1, 10**6),
    burst_seconds=st.integers(1, 60),
    percent=st.integers(0, 50),
)
def test_share_and_pot_are_the_limit(per_second: int, burst_seconds: int, percent: int):
    share, pot = divided(per_second, burst_seconds, percent)
    parts = [pot] if share is None else [share, pot]
    assert sum(part.milli for part in parts) == per_second * 1000
    assert sum(part.burst for part in parts) == per_second * burst_seconds
    assert all(part.milli >= 1 and part.burst >= 1 for part in parts)
    if share is not None:
        assert share.burst <= per_second * burst_seconds * percent / 100


class _Nobody:
    async def ask(self, *_: object) -> float:
        raise AssertionError("a share is spent without asking")


@given(
    steps=st.lists(st.integers(0, 400_000), min_size=1, max_size=200),
    per_second=st.sampled_from([20, 50, 1000]),
)
def test_a_share_is_spent_as_the_arithmetic_says(steps: list[int], per_second: int):
    terms = {"burst_seconds": 2, "share_percent": 10}
    limiter = Limiter("buyer", _Nobody(), per_second=per_second, subjects_max=100, **terms)
    share, _ = divided(per_second, 2, 10)
    assert share is not None
    tat, now_us = 0, 10**9
    for step in steps:
        # A microsecond off the edges, where floating point and integers may round apart.
        now_us += step + 3
        before, after = take(tat, now_us - 2, 1, share), take(tat, now_us + 2, 1, share)
        note = limiter.room("anybody", now_us / 1e6)
        if before.granted == after.granted:
            assert (note is not None) == (before.granted == 1)
        if note is not None:
            limiter.spend("anybody", note)
            tat = max(tat, now_us) + share.seconds_a_unit * 1e6


@pytest.mark.parametrize("per_second", [1, 2])
def test_a_small_limit_has_no_share(per_second: int):
    assert divided(per_second, 4, 10)[0] is None
