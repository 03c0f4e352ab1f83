"""Giving back: what was decided reaches the provider and Redis. It decides nothing new.

These are handlers of the outbox: each may be run again, and beside itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import structlog

from flashsale.domain.events import EventKind
from flashsale.domain.orders import OrderAction, transition
from flashsale.domain.outcomes import Status
from flashsale.payments import queries
from flashsale.payments.outbox import NotYetError
from flashsale.payments.outcomes import HAS_MONEY
from flashsale.payments.provider import Provider, ProviderRefusedError, ProviderUnavailableError
from flashsale.payments.records import RefundRecord
from flashsale.payments.scenes import Scene, close, scene_of
from flashsale.payments.stock import Stock
from flashsale.payments.values import MoneyCounters, RefundState
from flashsale.reservation.gather import Gather
from flashsale.sales.values import milliseconds
from flashsale.settlement.queries import Connection, Pool

_LOG = structlog.get_logger(__name__)
#: A refund that the provider refuses is asked for again, each time after as long as it has waited
#: for already, within these bounds; a person is told at once, and once it is given up.
_AGAIN_MS_MIN, _AGAIN_MS_MAX = 60_000, 6 * 3_600_000
_REFUSED_MS_MAX = 3 * 24 * 3_600_000
#: Of a failed one it is a wish, the outbox' own or a person's, that asks for another attempt.
_TO_SEND = frozenset({RefundState.ASKED, RefundState.FAILED})
_LETTERS = {"refunded": EventKind.REFUNDED, "forfeited": EventKind.FORFEITED}


class StockMismatchError(Exception):
    """Redis and Postgres tell differently of an order; an audit says more, a person decides."""


class _Marked(NamedTuple):
    """How far the provider is with a refund that was read before it was asked."""

    refund: RefundRecord
    state: RefundState
    ref: str | None = None


class Giving:
    """Raises ProviderUnavailableError, StoreError and Postgres' errors: then do it again."""

    def __init__(
        self,
        pool: Pool,
        stock: Stock,
        providers: Mapping[str, Provider],
        counters: MoneyCounters,
        *,
        clock: Callable[[], datetime] | None = None,
        batch_max: int = 128,
        waiting_max: int = 8192,
    ) -> None:
        self._clock = clock or partial(datetime.now, UTC)
        self._pool = pool
        self._stock = stock
        self._providers = providers
        self._counters = counters
        bounds = {"batch_max": batch_max, "waiting_max": waiting_max}
        self._reading: Gather[str, RefundRecord | None] = Gather(self._read_all, **bounds)
        self._marking: Gather[_Marked, bool] = Gather(self._mark_all, **bounds)

    async def send_refund(self, refund_id: str) -> None:
        """The outbox' send_refund: the provider gives back, once an id; it calls when it has.

        Raises NotYetError where the provider refused, and is to be asked again later.
        """
        refund = await self._reading.submit(refund_id)
        if refund is None or refund.state not in _TO_SEND:
            return
        provider = self._providers.get(refund.provider)
        if provider is None or refund.payment_ref is None:
            raise ProviderUnavailableError(f"{refund.provider} cannot be asked for a refund yet")
        try:
            ref = await provider.refund(refund.id, refund.payment_ref, refund.amount)
        except ProviderRefusedError as error:
            await self._refused(refund, error)
            return
        await self._marking.submit(_Marked(refund, RefundState.SENT, ref))
        self._counters.refunds_sent += 1

    async def _refused(self, refund: RefundRecord, error: ProviderRefusedError) -> None:
        """Tell a person; what was refused for want of money, say, may be granted another day."""
        marked = await self._marking.submit(_Marked(refund, RefundState.FAILED))
        self._counters.refund_failed += marked
        waited_ms = milliseconds(self._clock()) - refund.created_at_ms
        given_up = waited_ms >= _REFUSED_MS_MAX
        _LOG.error("refund_refused", refund=refund.id, error=str(error), given_up=given_up)
        if not given_up:
            delay_ms = min(max(waited_ms, _AGAIN_MS_MIN), _AGAIN_MS_MAX)
            raise NotYetError(f"the provider refused: {error}", delay_ms)

    async def _read_all(self, refund_ids: Sequence[str]) -> Sequence[RefundRecord | None]:
        found = await queries.read_refunds(self._pool, refund_ids)
        return [found.get(name) for name in refund_ids]

    async def _mark_all(self, marked: Sequence[_Marked]) -> Sequence[bool]:
        async def write(connection: Connection) -> set[str]:
            await queries.lock_payments(connection, (each.refund.payment_id for each in marked))
            return await queries.mark_refunds(connection, marked)

        written = await queries.transact(self._pool, write)
        return [each.refund.id in written for each in marked]

    async def stop(self) -> None:
        """End the work; whoever waits is cancelled."""
        await self._reading.stop()
        await self._marking.stop()

    async def return_units(self, order_id: str) -> None:
        """The outbox' return_units: the units of an order that is closing are for sale again."""
        order = await queries.find_order(self._pool, order_id)
        kind = _LETTERS.get(order.closing or "") if order else None
        if order is None or kind is None:
            return
        status, hold = await self._stock.return_units(order, kind)
        if status is Status.ILLEGAL:
            found = hold.state.value if hold else "nothing"
            raise StockMismatchError(f"{order.id} is {order.state.value}, in Redis {found}")

    async def close_emptied(self, order_id: str) -> None:
        """The outbox' close_emptied: an order whose money has all gone back gives up its units.

        Raises NotYetError while the event that it was paid by is still to be settled.
        """

        async def decide(connection: Connection) -> bool:
            scene = await scene_of(connection, order_id)
            if scene is None or scene.order.closing is not None or not _is_emptied(scene):
                return True
            if transition(scene.order.state, OrderAction.REFUND) is not None:
                await close(connection, [scene], "refunded")
                return True
            return scene.order.state in HAS_MONEY

        if await queries.transact(self._pool, decide):
            return
        order = await queries.find_order(self._pool, order_id)
        hold = order and await self._stock.find(order)
        # Once more: a lane that was retired or rebuilt meanwhile has told Postgres before.
        order = await queries.find_order(self._pool, order_id)
        states = {hold and hold.state, order and order.state}
        if not states.isdisjoint(HAS_MONEY):
            raise NotYetError("the order is not settled as paid yet")


def _is_emptied(scene: Scene) -> bool:
    """Whether nothing is left of an order's money; one that costs nothing never had any."""
    paid = any(each.captured for each in scene.counting)
    return scene.left == 0 and (paid or not scene.counting)
