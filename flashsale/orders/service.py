"""The buyer's side of orders: place, read, list, cancel. Redis decides, Postgres remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from flashsale.access.tokens import Buyer
from flashsale.domain.events import EventKind
from flashsale.domain.identity import order_hash, split_order_id
from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import TERMINAL_STATES, OrderState
from flashsale.domain.outcomes import Decision, Hold, Status
from flashsale.domain.sales import RUNNING_STATES
from flashsale.orders.board import Board, Listing
from flashsale.orders.values import UNPAID, OrderView, Placed, Refusal, amount_due, balanced
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.replies import Request
from flashsale.reservation.store import ReservationStore
from flashsale.sales.values import ItemFacts, Page, SaleFacts
from flashsale.settlement.ledger import Ledger, OrderRow

UNKNOWN_ORDER = Refusal("unknown_order")
_LOST = Refusal("reservation_lost")
_CODES = {
    Status.KEY_REUSED: "idempotency_key_reused",
    Status.NOT_OPEN: "not_open",
    Status.SALE_OVER: "sale_over",
    Status.PAUSED: "paused",
    Status.UNKNOWN_SKU: "unknown_sku",
    Status.LIMIT_REACHED: "limit_reached",
    Status.SOLD_OUT: "sold_out",
}
#: What a buyer who cancels is told of an order that ended before.
_ENDED = {OrderState.EXPIRED: Refusal("hold_expired")}
_NOT_CANCELLABLE = Refusal("order_not_cancellable")


class Begun(NamedTuple):
    """An order under way: once `decision` is there, `outcome` says what the buyer is told."""

    facts: SaleFacts
    item: ItemFacts | None
    request: Request
    decision: asyncio.Future[Decision]

    def outcome(self) -> Placed | Refusal:
        """What became of it; raises what the decision does."""
        return _answer(self.facts, self.item, self.request, self.decision.result())


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """Serves buyers. Methods raise StoreError or Postgres' errors where a store does not answer."""

    board: Board
    store: ReservationStore
    ledger: Ledger
    order_id_secret: bytes

    def begin(
        self, listing: Listing, buyer: Buyer, key: str, sku: str, quantity: int
    ) -> Begun | None:
        """`place` as far as it goes without waiting; None where more than a lane has to be asked.

        Raises StoreBusyError.
        """
        facts = listing.facts
        if facts.merchant_id != buyer.merchant_id or facts.retired or not facts.armed:
            return None
        item, request = self._request(listing, buyer, key, sku, quantity)
        lane = listing.desks[lane_of(request.buyer, facts.lanes)]
        return Begun(facts, item, request, lane.submit(request))

    def _request(
        self, listing: Listing, buyer: Buyer, key: str, sku: str, quantity: int
    ) -> tuple[ItemFacts | None, Request]:
        item = listing.items.get(sku)
        order = order_hash(self.order_id_secret, listing.facts.id, buyer.subject, key)
        number = -1 if item is None else item.item
        return item, Request(order, buyer.subject, number, quantity)

    async def place(
        self, listing: Listing, buyer: Buyer, key: str, sku: str, quantity: int
    ) -> Placed | Refusal:
        """Reserve, or say why not; the same buyer, key and body always meet the same order."""
        facts = listing.facts
        if facts.merchant_id != buyer.merchant_id:
            return Refusal("wrong_sale")
        item, request = self._request(listing, buyer, key, sku, quantity)
        try:
            return await self._decide(listing, item, request)
        except LaneLostError:
            # Nothing was decided. The lane may have been retired or rebuilt a moment ago.
            self.board.forget(facts.id)
            fresh = await self.board.listing(facts.id)
            if fresh is None or _lanes_of(fresh.facts) == _lanes_of(facts):
                raise
            return await self._decide(fresh, item, request)

    async def _decide(
        self, listing: Listing, item: ItemFacts | None, request: Request
    ) -> Placed | Refusal:
        facts = listing.facts
        if facts.retired or not (facts.armed or facts.state in RUNNING_STATES):
            return await self._replay_from_ledger(facts, request.order, item, request.quantity)
        if not facts.armed:
            raise LaneLostError("the lanes are still to be armed")
        decision = await listing.desks[lane_of(request.buyer, facts.lanes)].reserve(request)
        return _answer(facts, item, request, decision)

    async def _replay_from_ledger(
        self, facts: SaleFacts, order: str, item: ItemFacts | None, quantity: int
    ) -> Placed | Refusal:
        row = await self.ledger.find_order(facts.id + order)
        if row is None:
            return Refusal("sale_over")
        if item is None or row.item != item.item or row.quantity != quantity:
            return Refusal("idempotency_key_reused")
        (view,) = await self._owing(facts, [_view_of_row(facts, row)])
        assert view is not None
        return Placed(view, replayed=True)

    async def read(self, buyer: Buyer, order_id: str) -> OrderView | None:
        """The caller's order in its newest state, or None; another's order is none."""
        found = await self._find(buyer, order_id)
        return found[1] if found else None

    async def absent(self, buyer: Buyer, order_id: str) -> Refusal:
        """What the caller is told of an order that `read` has not found; another's order is none.

        LaneLostError while Redis cannot tell: what it held is settled, or known to be lost, first.
        """
        parts = split_order_id(order_id)
        listing = await self.board.listing(parts[0]) if parts else None
        if listing is None or listing.facts.merchant_id != buyer.merchant_id:
            return UNKNOWN_ORDER
        facts = listing.facts
        if facts.armed and not facts.retired:
            await self.store.tail(
                facts.id, lane_of(buyer.subject, facts.lanes), facts.epoch, "-", 1
            )
        return _LOST if facts.may_have_lost else UNKNOWN_ORDER

    async def _find(self, buyer: Buyer, order_id: str) -> tuple[SaleFacts, OrderView] | None:
        parts = split_order_id(order_id)
        listing = await self.board.listing(parts[0]) if parts else None
        if parts is None or listing is None or listing.facts.merchant_id != buyer.merchant_id:
            return None
        row = await self.ledger.find_order(order_id)
        if row and row.buyer_id != buyer.subject:
            return None
        (view,) = await self._newest(listing.facts, buyer, {parts[1]: row})
        return (listing.facts, view) if view else None

    async def _newest(
        self, facts: SaleFacts, buyer: Buyer, rows: Mapping[str, OrderRow | None]
    ) -> list[OrderView | None]:
        """Each order as the store tells that has seen more of it; so a status never goes back."""
        open_orders = [
            order for order, row in rows.items() if row is None or row.state not in TERMINAL_STATES
        ]
        holds: dict[str, Hold | None] = {}
        if open_orders and facts.armed and not facts.retired:
            lane = lane_of(buyer.subject, facts.lanes)
            found = await self.store.find_holds(facts.id, lane, open_orders)
            holds = dict(zip(open_orders, found, strict=True))
        views: list[OrderView | None] = []
        for order, row in rows.items():
            hold = holds.get(order)
            if hold and hold.buyer == buyer.subject and (row is None or hold.version > row.version):
                views.append(_view_of_hold(facts, order, hold))
            else:
                views.append(_view_of_row(facts, row) if row else None)
        return await self._owing(facts, views)

    async def _owing(
        self, facts: SaleFacts, views: list[OrderView | None]
    ) -> list[OrderView | None]:
        """The views with their balances: a price may have changed since the deposit was paid."""
        owing = [view.id for view in views if view and view.state is OrderState.BALANCE_DUE]
        paid = await self.ledger.paid_towards(owing) if owing else {}
        return [view and balanced(view, facts, paid.get(view.id)) for view in views]

    async def list(self, buyer: Buyer, cursor: str | None, limit: int) -> Page[OrderView]:
        """The caller's settled orders, a page, each in its newest state.

        An order joins the list when it is settled, a fraction of a second after it was placed:
        Redis keeps orders by name and not by buyer, and an index there would slow every order.
        """
        page = await self.ledger.orders_of_buyer(buyer.merchant_id, buyer.subject, cursor, limit)
        views: list[OrderView | None] = []
        for sale, rows in groupby(page.items, key=lambda row: row.sale_id):
            listing = await self.board.listing(sale)
            if listing is not None:
                settled = {row.id[len(sale) :]: row for row in rows}
                views += await self._newest(listing.facts, buyer, settled)
        return Page([view for view in views if view], page.next_cursor)

    async def cancel(self, buyer: Buyer, order_id: str) -> OrderView | Refusal:
        """Give unpaid units back. Cancelling twice answers the same; what ended otherwise stays."""
        found = await self._find(buyer, order_id)
        if found is None:
            return UNKNOWN_ORDER
        facts, view = found
        if view.state in UNPAID:
            lane = lane_of(buyer.subject, facts.lanes)
            order = order_id[len(facts.id) :]
            release = await self.store.release(
                facts.id, lane, facts.epoch, order, buyer.subject, EventKind.CANCELLED
            )
            if release.hold is None:
                raise LaneLostError(release.status.value)
            view = _view_of_hold(facts, order, release.hold)
        if view.state is OrderState.CANCELLED:
            return view
        return _ENDED.get(view.state, _NOT_CANCELLABLE)


def _lanes_of(facts: SaleFacts) -> tuple[int, bool, bool]:
    return facts.epoch, facts.armed, facts.retired


def _answer(
    facts: SaleFacts, item: ItemFacts | None, request: Request, decision: Decision
) -> Placed | Refusal:
    if decision.status is Status.RESERVED and item is not None:
        amount = item.due_now.times(request.quantity)
        view = OrderView(
            facts.id + request.order,
            facts.id,
            item.sku,
            request.quantity,
            OrderState.RESERVED,
            decision.at_ms,
            amount,
        )
        return Placed(view, replayed=False)
    if decision.hold is not None:
        return Placed(_view_of_hold(facts, request.order, decision.hold), replayed=True)
    return Refusal(_CODES[decision.status], decision.at_ms)


def _view_of_hold(facts: SaleFacts, order: str, hold: Hold) -> OrderView:
    item = _item_of(facts, hold.item)
    return OrderView(
        facts.id + order,
        facts.id,
        item.sku,
        hold.quantity,
        hold.state,
        hold.deadline_ms,
        amount_due(item, hold.state, hold.quantity),
    )


def _view_of_row(facts: SaleFacts, row: OrderRow) -> OrderView:
    item = _item_of(facts, row.item)
    return OrderView(
        row.id,
        facts.id,
        item.sku,
        row.quantity,
        row.state,
        row.hold_expires_at_ms,
        amount_due(item, row.state, row.quantity),
    )


def _item_of(facts: SaleFacts, number: int) -> ItemFacts:
    if number >= len(facts.items):
        # An item that joined the sale a moment ago; newer facts are on their way to this process.
        raise LaneLostError("the order is of an item that is not known here yet")
    return facts.items[number]
