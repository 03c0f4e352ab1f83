"""The life of a sale: states, legal actions and what the public sees at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class SaleKind(StrEnum):
    """How units are given out."""

    LAUNCH = "launch"
    PREORDER = "preorder"
    DRAW = "draw"


class SaleState(StrEnum):
    """draft -> scheduled -> open <-> paused -> closed; cancelled from anywhere before closed."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class SaleAction(StrEnum):
    """What a merchant, or the timekeeper for `open` and `close`, does to a sale."""

    SCHEDULE = "schedule"
    OPEN = "open"
    PAUSE = "pause"
    RESUME = "resume"
    CLOSE = "close"
    CANCEL = "cancel"


_S, _A = SaleState, SaleAction

SALE_TRANSITIONS: Mapping[tuple[SaleState, SaleAction], SaleState] = MappingProxyType(
    {
        (_S.DRAFT, _A.SCHEDULE): _S.SCHEDULED,
        (_S.DRAFT, _A.CANCEL): _S.CANCELLED,
        (_S.SCHEDULED, _A.OPEN): _S.OPEN,
        (_S.SCHEDULED, _A.PAUSE): _S.PAUSED,
        (_S.SCHEDULED, _A.CLOSE): _S.CLOSED,
        (_S.SCHEDULED, _A.CANCEL): _S.CANCELLED,
        (_S.OPEN, _A.PAUSE): _S.PAUSED,
        (_S.OPEN, _A.CLOSE): _S.CLOSED,
        (_S.OPEN, _A.CANCEL): _S.CANCELLED,
        (_S.PAUSED, _A.RESUME): _S.OPEN,
        (_S.PAUSED, _A.CLOSE): _S.CLOSED,
        (_S.PAUSED, _A.CANCEL): _S.CANCELLED,
    }
)

#: States in which the sale's lanes exist in Redis and take commands.
RUNNING_STATES = frozenset({_S.SCHEDULED, _S.OPEN, _S.PAUSED})


#: The state a lane is in while its sale is in a state; opening is left to the clock.
LANE_STATES = {
    SaleState.SCHEDULED: "open",
    SaleState.OPEN: "open",
    SaleState.PAUSED: "paused",
    SaleState.CLOSED: "closed",
    SaleState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What `reserve` decides by. Instants are Unix milliseconds; `buyer_limit` counts units."""

    starts_at_ms: int
    ends_at_ms: int
    buyer_limit: int
    hold_ms: int


def transition(state: SaleState, action: SaleAction) -> SaleState | None:
    """The state that `action` leads to from `state`, or None where it is not legal."""
    return SALE_TRANSITIONS.get((state, action))


def visible_state(state: SaleState, starts_at_ms: int, ends_at_ms: int, now_ms: int) -> SaleState:
    """The state the public sees: the window decides to the millisecond, the timekeeper follows."""
    if state in RUNNING_STATES and now_ms >= ends_at_ms:
        return SaleState.CLOSED
    if state is SaleState.SCHEDULED and now_ms >= starts_at_ms:
        return SaleState.OPEN
    if state is SaleState.OPEN and now_ms < starts_at_ms:
        return SaleState.SCHEDULED
    return state
