"""When the rest of a price is asked for, charged and given up on. Pure: `now` comes as a value."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from flashsale.sales.values import PreorderTerms


class Window(NamedTuple):
    """When a balance may be paid, is due, and is given up on. Unix milliseconds, in that order."""

    opens_at_ms: int
    due_at_ms: int
    ends_at_ms: int


class Progress(NamedTuple):
    """How far the collection of a balance has got; `demanded`: the order is balance_due."""

    demanded: bool = False
    reminded: bool = False
    charges: int = 0


class Step(StrEnum):
    """What the clock does next about a balance."""

    WAIT = "wait"
    DEMAND = "demand"
    REMIND = "remind"
    CHARGE = "charge"
    END = "end"


class Turn(NamedTuple):
    """A step, and until when there is nothing to do where it is WAIT (Unix milliseconds)."""

    step: Step
    at_ms: int


def window(terms: PreorderTerms, allocated_at_ms: int) -> Window:
    """The window of an order allocated at an instant.

    By a date for all, whoever is allocated too late for it still has `window_ms` to pay.
    """
    if terms.mode == "by_date" and terms.due_at_ms is not None:
        opens = max(terms.opens_at_ms or allocated_at_ms, allocated_at_ms)
        due = max(terms.due_at_ms, opens)
        if terms.due_at_ms < allocated_at_ms:
            due = allocated_at_ms + terms.window_ms
    else:
        opens, due = allocated_at_ms, allocated_at_ms + terms.window_ms
    return Window(opens, due, due + terms.grace_ms)


def turn(terms: PreorderTerms, when: Window, done: Progress, now_ms: int) -> Turn:
    """What is to be done at an instant. Steps that were missed are done late, in their order.

    A charge that was missed is not made up for: the next one counts from the instants that are
    fixed by the window, so that a clock that stood still charges once and not many times over.
    """
    if not done.demanded:
        return Turn(Step.DEMAND if now_ms >= when.opens_at_ms else Step.WAIT, when.opens_at_ms)
    # The first charge is always tried before an order is given up, however late the clock is.
    if now_ms >= when.ends_at_ms and (done.charges or terms.grace_ms == 0):
        return Turn(Step.END, when.ends_at_ms)
    remind_at_ms = max(when.opens_at_ms, when.due_at_ms - terms.reminder_ms)
    if not done.reminded and now_ms < when.due_at_ms:
        return Turn(Step.REMIND if now_ms >= remind_at_ms else Step.WAIT, remind_at_ms)
    # The n-th charge (from 0) is due n times retry_ms after the balance is.
    charge_at_ms = when.due_at_ms + done.charges * terms.retry_ms
    if charge_at_ms >= when.ends_at_ms and done.charges:
        return Turn(Step.WAIT, when.ends_at_ms)
    return Turn(Step.CHARGE if now_ms >= charge_at_ms else Step.WAIT, charge_at_ms)


def charges_by(terms: PreorderTerms, when: Window, now_ms: int) -> int:
    """How many charges the window has had room for at an instant: what `charges` becomes."""
    if now_ms < when.due_at_ms:
        return 0
    return (now_ms - when.due_at_ms) // terms.retry_ms + 1
