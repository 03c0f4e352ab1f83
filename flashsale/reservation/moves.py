"""Moves: the store's methods for one order that is there already. It decides nothing."""

from __future__ import annotations

from flashsale.domain.events import EventKind
from flashsale.reservation.keys import lane_keys
from flashsale.reservation.replies import Moved, parse_hold, status_of
from flashsale.reservation.scripts import ScriptRunner


class Moves:
    """Commands that move one order on; `order` is its hash, 20 characters.

    Each answers its own status, ALREADY where it was done before (so that it may be repeated),
    ILLEGAL where the order's state does not allow it, and UNKNOWN_ORDER, MISSING_LANE and
    FOREIGN_EPOCH, which come without a hold. Raises StoreUnavailableError: the effect is unknown.
    """

    _runner: ScriptRunner

    async def release(
        self, sale: str, lane: int, epoch: int, order: str, buyer: str, kind: EventKind
    ) -> Moved:
        """End a hold early, as CANCELLED or REJECTED: RELEASED."""
        return await self._move("release", (sale, lane), epoch, order, buyer, kind.value)

    async def pay(
        self, sale: str, lane: int, epoch: int, order: str, buyer: str, pay_ms: int
    ) -> Moved:
        """Begin a checkout that may take `pay_ms`: PAYING; OVERDUE where the hold's time is up."""
        return await self._move("pay", (sale, lane), epoch, order, buyer, pay_ms)

    async def decline(
        self,
        sale: str,
        lane: int,
        epoch: int,
        order: str,
        buyer: str,
        version: int | None = None,
    ) -> Moved:
        """End a checkout without money: DECLINED; the hold goes on until its own deadline.

        `version` is that of the record which the checkout made: of a later one it is ALREADY.
        """
        meant = () if version is None else (version,)
        return await self._move("decline", (sale, lane), epoch, order, buyer, *meant)

    async def capture(
        self, sale: str, lane: int, epoch: int, order: str, buyer: str, kind: EventKind
    ) -> Moved:
        """Money came in, PAID or DEPOSIT_PAID: CAPTURED; too late, LIMIT_REACHED or SOLD_OUT."""
        return await self._move("capture", (sale, lane), epoch, order, buyer, kind.value)

    async def return_units(
        self, sale: str, lane: int, epoch: int, order: str, buyer: str, kind: EventKind
    ) -> Moved:
        """Put sold units back on sale, as REFUNDED or (a deposit) FORFEITED: RETURNED."""
        return await self._move("return_units", (sale, lane), epoch, order, buyer, kind.value)

    async def change_item(
        self,
        sale: str,
        lane: int,
        epoch: int,
        order: str,
        buyer: str,
        item: int,
        until_ms: int | None = None,
    ) -> Moved:
        """Another SKU for an order with a deposit: CHANGED; UNKNOWN_SKU, SOLD_OUT.

        From `until_ms` on, by Redis' clock, nothing is changed any more: OVERDUE.
        """
        until = () if until_ms is None else (until_ms,)
        return await self._move("change_item", (sale, lane), epoch, order, buyer, item, *until)

    async def _move(self, script: str, lane: tuple[str, int], *arguments: str | int) -> Moved:
        reply = await self._runner.run(script, lane_keys(*lane)[:6], arguments)
        return Moved(status_of(reply), parse_hold(reply[1]) if len(reply) > 1 else None)
