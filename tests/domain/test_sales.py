"""A sale's states, and what the public sees of them at an instant."""

from __future__ import annotations

from itertools import product

import pytest

from flashsale.domain.sales import RUNNING_STATES, SaleAction, SaleState, transition, visible_state

STARTS, ENDS = 1_000_000, 2_000_000
#: state: {action: where it leads}; what is not here is not legal.
DIAGRAM = {
    "draft": {"schedule": "scheduled", "cancel": "cancelled"},
    "scheduled": {"open": "open", "pause": "paused", "close": "closed", "cancel": "cancelled"},
    "open": {"pause": "paused", "close": "closed", "cancel": "cancelled"},
    "paused": {"resume": "open", "close": "closed", "cancel": "cancelled"},
}


@pytest.mark.parametrize(("state", "action"), [*product(SaleState, SaleAction)])
def test_exactly_the_diagram_is_legal(state: SaleState, action: SaleAction):
    assert transition(state, action) == DIAGRAM.get(state, {}).get(action)


def test_a_sale_runs_until_it_is_over():
    over = {state for state in SaleState if not any(transition(state, act) for act in SaleAction)}
    assert over == {"closed", "cancelled"}
    assert set(SaleState) - RUNNING_STATES == over | {"draft"}


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        # Before, at the start, a millisecond before the end, at the end.
        ("draft", ["draft", "draft", "draft", "draft"]),
        ("scheduled", ["scheduled", "open", "open", "closed"]),
        ("open", ["scheduled", "open", "open", "closed"]),
        ("paused", ["paused", "paused", "paused", "closed"]),
        ("closed", ["closed", "closed", "closed", "closed"]),
        ("cancelled", ["cancelled", "cancelled", "cancelled", "cancelled"]),
    ],
)
def test_the_window_decides_to_the_millisecond(state: str, seen: list[str]):
    instants = (STARTS - 1, STARTS, ENDS - 1, ENDS)
    assert [visible_state(SaleState(state), STARTS, ENDS, now) for now in instants] == seen
