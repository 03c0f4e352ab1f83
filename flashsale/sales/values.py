"""What a sale is, as values: read by the public pages, the hot path and the merchant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Generic, Literal, TypeVar

from flashsale.domain.money import Money
from flashsale.domain.sales import SaleKind, SaleState, Terms, visible_state

_T = TypeVar("_T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(instant: datetime) -> int:
    """Unix milliseconds, exactly: floats would lose one now and then."""
    return (instant - _EPOCH) // _MILLISECOND


def instant(unix_ms: int) -> datetime:
    """The UTC instant of Unix milliseconds."""
    return _EPOCH + unix_ms * _MILLISECOND


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """One SKU of a sale. `item` is its number there; `capacity` counts all supply given.

    `shut_reason`: why the engine lets nobody reserve it; None where it does.
    """

    item: int
    sku: str
    name: str
    price: Money
    capacity: int
    ships_at_ms: int | None = None
    deposit: Money | None = None
    shut_reason: str | None = None

    @property
    def due_now(self) -> Money:
        """What one unit costs at once: the deposit where one is taken, else the price."""
        return self.deposit or self.price


@dataclass(frozen=True, slots=True)
class CancellationTerms:
    """Whether a buyer who has paid may cancel; `within_minutes` of the payment, None: any time."""

    paid: Literal["refund", "refused"] = "refund"
    within_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class PreorderTerms:
    """How a pre-order collects its balance, and what becomes of those who do not pay it.

    `by_date`: payable from `opens_at_ms`, due at `due_at_ms` for everybody; `on_allocation`: due
    `window_ms` after an order's allocation. `reminder_ms` before it is due the buyer is reminded;
    from then on a saved deposit is charged every `retry_ms` for `grace_ms`, then `on_default`.
    """

    mode: Literal["on_allocation", "by_date"]
    opens_at_ms: int | None
    due_at_ms: int | None
    window_ms: int
    grace_ms: int
    retry_ms: int
    reminder_ms: int
    on_default: Literal["forfeit", "refund"]
    free_cancel_ms: int


@dataclass(frozen=True, slots=True)
class SaleFacts:
    """A sale as Postgres has it. Instants are Unix milliseconds.

    `state` is what is recorded; `visible_state` is what the public sees at an instant. `armed`:
    its lanes exist in Redis; `retired`: they have been removed again. `revision` counts the
    merchant's edits and is the ETag. `may_have_lost`: Redis lost a disk while this was on sale.
    `paused_reason`: why the engine paused it; None where its merchant did.
    """

    id: str
    merchant_id: str
    name: str
    kind: SaleKind
    state: SaleState
    starts_at_ms: int
    ends_at_ms: int
    items: tuple[ItemFacts, ...]
    per_buyer_limit: int
    hold_seconds: int
    published_supply: bool
    lanes: int
    epoch: int
    durability: Literal["strict", "relaxed"]
    revision: int
    armed: bool
    retired: bool
    created_at_ms: int
    cancellation: CancellationTerms = CancellationTerms()
    preorder: PreorderTerms | None = None
    may_have_lost: bool = False
    paused_reason: str | None = None

    @property
    def is_public(self) -> bool:
        """Whether buyers may know of it: it has left the drafts through scheduling."""
        return self.state is not SaleState.DRAFT and (self.armed or not self.retired)

    @property
    def terms(self) -> Terms:
        """What the lanes decide by."""
        return Terms(
            starts_at_ms=self.starts_at_ms,
            ends_at_ms=self.ends_at_ms,
            buyer_limit=self.per_buyer_limit,
            hold_ms=self.hold_seconds * 1000,
        )

    def visible_state(self, now_ms: int) -> SaleState:
        """The state the public sees at an instant."""
        return visible_state(self.state, self.starts_at_ms, self.ends_at_ms, now_ms)

    def item_of(self, sku: str) -> ItemFacts | None:
        """The item sold under a SKU."""
        return next((item for item in self.items if item.sku == sku), None)


class SupplyState(StrEnum):
    """Where a change of supply stands; `pending` may also mean that its instant is to come."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Supply:
    """A wave, or units taken back (negative `quantity`).

    `counted_at_ms`: when Postgres' capacity took it in. For a wave that comes before Redis sells
    it, for a cut after Redis has stopped selling it, so that Redis never sells what Postgres has
    not. `shares`: how the lanes share a cut, fixed before the first lane is told.
    """

    id: str
    sale_id: str
    item: int
    sku: str
    quantity: int
    at_ms: int
    reason: str
    state: SupplyState
    created_at_ms: int
    counted_at_ms: int | None = None
    shares: tuple[int, ...] | None = None
    ships_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """A page of a list; `next_cursor` is None on the last one."""

    items: Sequence[_T]
    next_cursor: str | None
