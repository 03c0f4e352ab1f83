"""The order states of design.md, spelled out a second time and compared pair by pair."""

from __future__ import annotations

from itertools import product

import pytest

from flashsale.domain.events import STATE_OF_KIND, EventKind
from flashsale.domain.orders import (
    LIVE_STATES,
    TERMINAL_STATES,
    OrderAction,
    OrderState,
    is_live,
    reachable,
    transition,
)
from flashsale.domain.outcomes import HOLD_STATES

#: state: {action: where it leads}; what is not here is not legal.
DIAGRAM = {
    "reserved": {
        "settle": "confirmed",
        "expire": "expired",
        "cancel": "cancelled",
        "reject": "rejected",
    },
    "confirmed": {
        "pay": "paying",
        "capture": "paid",
        "capture_deposit": "deposit_paid",
        "expire": "expired",
        "cancel": "cancelled",
    },
    "paying": {
        "decline": "confirmed",
        "capture": "paid",
        "capture_deposit": "deposit_paid",
        "expire": "expired",
        "cancel": "cancelled",
    },
    "expired": {"capture": "paid", "capture_deposit": "deposit_paid"},
    "deposit_paid": {"change_sku": "deposit_paid", "allocate": "allocated", "refund": "refunded"},
    "allocated": {
        "demand_balance": "balance_due",
        "capture_balance": "paid",
        "refund": "refunded",
    },
    "balance_due": {"capture_balance": "paid", "refund": "refunded", "forfeit": "forfeited"},
    "paid": {"fulfil": "fulfilled", "refund": "refunded"},
}
TERMINAL = {"fulfilled", "refunded", "forfeited", "cancelled", "rejected"}
GIVES_BACK = {"refunded", "forfeited", "expired", "cancelled", "rejected"}


@pytest.mark.parametrize(("state", "action"), [*product(OrderState, OrderAction)])
def test_exactly_the_diagram_is_legal(state: OrderState, action: OrderAction):
    expected = DIAGRAM.get(state, {}).get(action)
    assert transition(state, action) == expected


def test_terminal_states_absorb():
    assert TERMINAL_STATES == TERMINAL
    for state, action in product(TERMINAL, OrderAction):
        assert transition(OrderState(state), action) is None


def test_every_state_is_reached_from_the_first():
    reached, waiting = set(), {OrderState.RESERVED}
    while waiting:
        state = waiting.pop()
        reached.add(state)
        waiting |= {after for action in OrderAction if (after := transition(state, action))}
        waiting -= reached
    assert reached == set(OrderState)


def test_units_are_held_until_they_are_given_back():
    assert set(OrderState) - LIVE_STATES == GIVES_BACK
    assert all(is_live(state) == (state not in GIVES_BACK) for state in OrderState)


@pytest.mark.parametrize("letter", HOLD_STATES)
def test_redis_and_postgres_mean_the_same_by_a_letter(letter: str):
    settled = STATE_OF_KIND[EventKind(letter)]
    held = HOLD_STATES[letter]
    assert settled is held or (held, settled) == (OrderState.RESERVED, OrderState.CONFIRMED)
    assert is_live(settled) == is_live(held) == (letter in "RPSE")


@pytest.mark.parametrize("state", OrderState)
def test_what_is_reachable_is_what_some_way_through_the_diagram_meets(state: OrderState):
    met: set[str] = set()
    ahead = [*DIAGRAM.get(state, {}).values()]
    while ahead:
        here = ahead.pop()
        if here not in met:
            met.add(here)
            ahead += DIAGRAM.get(here, {}).values()
    assert reachable(state) == met


def test_nothing_goes_back_to_before_it_was_paid():
    for state in (OrderState.PAID, OrderState.DEPOSIT_PAID, OrderState.FULFILLED):
        assert not reachable(state) & {"reserved", "confirmed", "paying", "expired", "cancelled"}
