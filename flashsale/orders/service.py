"""The buyer's side of orders: place, read, list, cancel. Redis decides, Postgres remembers."""

from __future__ import annotations

from dataclasses import dataclass

from flashsale.access.tokens import Buyer
from flashsale.domain.events import EventKind
from flashsale.domain.identity import order_hash, split_order_id
from flashsale.domain.lanes import lane_of
from flashsale.domain.orders import TERMINAL_STATES, OrderState
from flashsale.domain.outcomes import Decision, Hold, Status
from flashsale.orders.board import Board, Listing
from flashsale.orders.values import OrderView, Placed, Refusal
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.store import Request, ReservationStore
from flashsale.sales.values import ItemFacts, Page, SaleFacts
from flashsale.settlement.ledger import Ledger, OrderRow

UNKNOWN_ORDER = Refusal("unknown_order")
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


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """Serves buyers. Methods raise StoreError or Postgres' errors where a store does not answer."""

    board: Board
    store: ReservationStore
    ledger: Ledger
    order_id_secret: bytes

    async def place(
        self, listing: Listing, buyer: Buyer, key: str, sku: str, quantity: int
    ) -> Placed | Refusal:
        """Reserve, or say why not; the same buyer, key and body always meet the same order."""
        facts = listing.facts
        assert facts is not None, "the board lists only sales with facts"
        if facts.merchant_id != buyer.merchant_id:
            return Refusal("wrong_sale")
        item = listing.items.get(sku)
        order = order_hash(self.order_id_secret, facts.id, buyer.subject, key)
        if not facts.armed or facts.retired:
            return await self._replay_from_ledger(facts, order, item, quantity)
        request = Request(order, buyer.subject, -1 if item is None else item.item, quantity)
        try:
            lane = listing.desks[lane_of(buyer.subject, facts.lanes)]
            decision = await lane.reserve(request)
        except LaneLostError:
            # The lane may have been retired a moment ago: then Postgres answers for it.
            self.board.forget(facts.id)
            fresh = await self.board.listing(facts.id)
            if fresh is None or fresh.facts is None or not fresh.facts.retired:
                raise
            return await self._replay_from_ledger(fresh.facts, order, item, quantity)
        return _answer(facts, order, item, request, decision)

    async def _replay_from_ledger(
        self, facts: SaleFacts, order: str, item: ItemFacts | None, quantity: int
    ) -> Placed | Refusal:
        row = await self.ledger.find_order(facts.id + order)
        if row is None:
            return Refusal("sale_over")
        if item is None or row.item != item.item or row.quantity != quantity:
            return Refusal("idempotency_key_reused")
        return Placed(_view_of_row(facts, row), replayed=True)

    async def read(self, buyer: Buyer, order_id: str) -> OrderView | None:
        """The caller's order in its newest state, or None; another's order is none."""
        found = await self._find(buyer, order_id)
        return found[1] if found else None

    async def _find(self, buyer: Buyer, order_id: str) -> tuple[SaleFacts, OrderView] | None:
        parts = split_order_id(order_id)
        listing = await self.board.listing(parts[0]) if parts else None
        if parts is None or listing is None or listing.facts is None:
            return None
        facts = listing.facts
        row = await self.ledger.find_order(order_id)
        if facts.merchant_id != buyer.merchant_id or (row and row.buyer_id != buyer.subject):
            return None
        hold = None
        if facts.armed and not facts.retired and (row is None or row.state not in TERMINAL_STATES):
            lane = lane_of(buyer.subject, facts.lanes)
            hold = await self.store.find_hold(facts.id, lane, parts[1])
        # Whichever store has seen more of the order tells; so a status never goes back.
        if hold and hold.buyer == buyer.subject and (row is None or hold.version > row.version):
            return facts, _view_of_hold(facts, parts[1], hold)
        return (facts, _view_of_row(facts, row)) if row else None

    async def list(self, buyer: Buyer, cursor: str | None, limit: int) -> Page[OrderView]:
        """The caller's settled orders, a page; those of the last moments follow within a second."""
        page = await self.ledger.orders_of_buyer(buyer.merchant_id, buyer.subject, cursor, limit)
        views = []
        for row in page.items:
            listing = await self.board.listing(row.sale_id)
            if listing is not None and listing.facts is not None:
                views.append(_view_of_row(listing.facts, row))
        return Page(views, page.next_cursor)

    async def cancel(self, buyer: Buyer, order_id: str) -> OrderView | Refusal:
        """Give the units back. Cancelling twice answers the same; what ended otherwise stays."""
        found = await self._find(buyer, order_id)
        if found is None:
            return UNKNOWN_ORDER
        facts, view = found
        if view.state in {OrderState.RESERVED, OrderState.CONFIRMED}:
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


def _answer(
    facts: SaleFacts, order: str, item: ItemFacts | None, request: Request, decision: Decision
) -> Placed | Refusal:
    if decision.status is Status.RESERVED and item is not None:
        amount = item.price.times(request.quantity)
        view = OrderView(
            facts.id + order,
            facts.id,
            item.sku,
            request.quantity,
            OrderState.RESERVED,
            decision.at_ms,
            amount,
        )
        return Placed(view, replayed=False)
    if decision.hold is not None:
        return Placed(_view_of_hold(facts, order, decision.hold), replayed=True)
    return Refusal(_CODES[decision.status], decision.at_ms)


def _view_of_hold(facts: SaleFacts, order: str, hold: Hold) -> OrderView:
    item = facts.items[hold.item]
    return OrderView(
        facts.id + order,
        facts.id,
        item.sku,
        hold.quantity,
        hold.state,
        hold.deadline_ms,
        item.price.times(hold.quantity),
    )


def _view_of_row(facts: SaleFacts, row: OrderRow) -> OrderView:
    return OrderView(
        row.id,
        facts.id,
        facts.items[row.item].sku,
        row.quantity,
        row.state,
        row.hold_expires_at_ms,
        facts.items[row.item].price.times(row.quantity),
    )
