"""When a balance is asked for, charged and given up on: a table of instants, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashsale.preorders.balance import Progress, Step, Window, charges_by, turn, window
from tests.preorders.yard import HOUR_MS as H
from tests.preorders.yard import TERMS

BY_DATE = replace(TERMS, mode="by_date", opens_at_ms=100 * H, due_at_ms=200 * H)
WHEN = Window(0, 72 * H, 120 * H)
DEMANDED, REMINDED = Progress(demanded=True), Progress(demanded=True, reminded=True)


def test_on_allocation_the_window_begins_with_it():
    assert window(TERMS, 10 * H) == Window(10 * H, 82 * H, 130 * H)


@pytest.mark.parametrize(
    ("allocated", "expected"),
    [
        (50, Window(100 * H, 200 * H, 248 * H)),
        (150, Window(150 * H, 200 * H, 248 * H)),
        (300, Window(300 * H, 372 * H, 420 * H)),  # too late for the date: its own window
    ],
)
def test_by_date_everybody_has_the_same_window_unless_allocated_too_late(allocated, expected):
    assert window(BY_DATE, allocated * H) == expected


@pytest.mark.parametrize(
    ("done", "now", "step", "at"),
    [
        (Progress(), -1, Step.WAIT, 0),
        (Progress(), 0, Step.DEMAND, 0),
        (DEMANDED, 47, Step.WAIT, 48),
        (DEMANDED, 48, Step.REMIND, 48),
        (REMINDED, 71, Step.WAIT, 72),
        (REMINDED, 72, Step.CHARGE, 72),
        (DEMANDED, 72, Step.CHARGE, 72),  # too late to remind
        (REMINDED._replace(charges=1), 95, Step.WAIT, 96),
        (REMINDED._replace(charges=1), 96, Step.CHARGE, 96),
        (REMINDED._replace(charges=2), 119, Step.WAIT, 120),
        (REMINDED._replace(charges=2), 120, Step.END, 120),
        (REMINDED, 500, Step.CHARGE, 72),  # never given up without one charge
        (REMINDED._replace(charges=1), 500, Step.END, 120),
    ],
)
def test_each_step_has_its_instant(done, now, step, at):
    assert turn(TERMS, WHEN, done, now * H) == (step, at * H)


def test_charges_that_were_missed_are_not_made_up_for():
    assert [charges_by(TERMS, WHEN, hour * H) for hour in (71, 72, 95, 96, 119)] == [0, 1, 1, 2, 2]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_however_the_clock_ticks_every_balance_is_demanded_once_charged_and_ended_in_order(hours):
    """Whatever instants it is looked at, the steps come in one order and none comes twice."""
    done, seen = Progress(), []
    for hour in [*sorted(hours), 1000]:
        for _ in range(10):
            step, _at = turn(TERMS, WHEN, done, hour * H)
            if step is Step.WAIT:
                break
            seen.append(step)
            if step is Step.END:
                break
            done = Progress(
                demanded=True,
                reminded=done.reminded or step is Step.REMIND,
                charges=max(done.charges + 1, charges_by(TERMS, WHEN, hour * H))
                if step is Step.CHARGE
                else done.charges,
            )
        else:
            raise AssertionError("it never rests")
        if seen[-1:] == [Step.END]:
            break
    order = [Step.DEMAND, Step.REMIND, Step.CHARGE, Step.END]
    assert seen == sorted(seen, key=order.index)
    assert seen.count(Step.DEMAND) == seen.count(Step.END) == 1
    assert seen.count(Step.REMIND) <= 1
    assert 1 <= seen.count(Step.CHARGE) <= 2
