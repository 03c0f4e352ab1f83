"""The merchant's commands on pre-orders: lots and promised dates. Who is served, the clock says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from flashsale.domain.sales import SaleState
from flashsale.preorders import errors, queries, queries_dates
from flashsale.preorders.forms import LotForm, ShipDateForm
from flashsale.preorders.queries import Pool, Transaction
from flashsale.preorders.queues import add_lot
from flashsale.preorders.values import CapPart, Lot, Promise, QueueKey, ShipDate
from flashsale.sales.errors import (
    FieldError,
    IllegalTransitionError,
    UnknownSaleError,
    UnknownSkuError,
    ValidationFailedError,
)
from flashsale.sales.queries import find_sale
from flashsale.sales.values import ItemFacts, Page, SaleFacts, milliseconds


class PreorderService:
    """Commands and reads. `clock` is now in UTC; refusals are `sales.errors` and `errors`."""

    def __init__(self, pool: Pool, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clock = clock

    async def add_lot(self, merchant_id: str, sale_id: str, form: LotForm, key: str) -> Lot:
        """Incoming supply; with the same key, the same lot.

        UnknownSaleError, UnknownSkuError, NotAPreorderError, IllegalTransitionError for a draft
        or a cancelled sale, KeyReusedError.
        """
        sale = await self._sale(merchant_id, sale_id)
        item = _item(sale, form.sku)
        lot_id = _named("lot", sale_id, key)
        async with self._pool.acquire() as connection, connection.transaction():
            lot = await queries.find_lot(connection, lot_id)
            if lot is None:
                if sale.state in {SaleState.DRAFT, SaleState.CANCELLED}:
                    raise IllegalTransitionError
                queue = QueueKey(sale_id, item.item)
                await add_lot(connection, lot_id, queue, form.quantity, form.reason)
                lot = await queries.find_lot(connection, lot_id)
        assert lot is not None
        if (lot.item, lot.quantity, lot.reason) != (item.item, form.quantity, form.reason):
            raise errors.KeyReusedError
        return lot

    async def list_lots(
        self, merchant_id: str, sale_id: str, cursor: str | None, limit: int
    ) -> Page[Lot]:
        """A sale's lots, oldest first; the cursor is a lot's id."""
        await self._sale(merchant_id, sale_id)
        if cursor is not None:
            lot = await queries.find_lot(self._pool, cursor)
            _check_cursor(known=lot is not None and lot.sale_id == sale_id)
        lots = await queries.page_of_lots(self._pool, sale_id, cursor, limit + 1)
        return Page(lots[:limit], lots[limit - 1].id if len(lots) > limit else None)

    async def move_ship_date(
        self, merchant_id: str, sale_id: str, form: ShipDateForm, key: str
    ) -> ShipDate:
        """Promise another date; those affected are told, and may cancel freely for a while.

        Raises as `add_lot` does, UnknownWaveError, and ValidationFailedError for a date that has
        passed or is the one that holds.
        """
        sale = await self._sale(merchant_id, sale_id)
        item, now = _item(sale, form.sku), self._clock()
        moved_id = _named("shd", sale_id, key)
        async with self._pool.acquire() as connection, connection.transaction():
            moved = await queries_dates.find(connection, moved_id)
            if moved is None:
                await self._move(connection, sale, item, form, moved_id, now)
                moved = await queries_dates.find(connection, moved_id)
        assert moved is not None
        asked = (form.sku, form.wave, milliseconds(form.ships_at), form.reason)
        if (moved.sku, moved.wave, moved.ships_at_ms, moved.reason) != asked:
            raise errors.KeyReusedError
        return moved

    @staticmethod
    async def _move(
        connection: Transaction,
        sale: SaleFacts,
        item: ItemFacts,
        form: ShipDateForm,
        moved_id: str,
        now: datetime,
    ) -> None:
        if sale.state in {SaleState.DRAFT, SaleState.CANCELLED}:
            raise IllegalTransitionError
        if form.ships_at <= now:
            raise ValidationFailedError([FieldError("/ships_at", "Has passed already.")])
        assert sale.preorder is not None
        queue = QueueKey(sale.id, item.item)
        step = (await queries.lock_queues(connection, [queue]))[queue] + 1
        if await queries_dates.find(connection, moved_id) is not None:
            return  # the same request at the same time was here first
        part = _part(await queries.parts_of_cap(connection, queue), form.wave)
        if part.ships_at == form.ships_at:
            raise ValidationFailedError([FieldError("/ships_at", "Is the date that holds.")])
        await queries_dates.move(
            connection,
            moved_id,
            queue,
            part.wave,
            before=part.ships_at,
            ships_at=form.ships_at,
            reason=form.reason,
            free_until=now + timedelta(milliseconds=sale.preorder.free_cancel_ms),
            step=step,
            now=now,
        )
        await queries.set_steps(connection, {queue: step})

    async def list_ship_dates(
        self, merchant_id: str, sale_id: str, cursor: str | None, limit: int
    ) -> Page[ShipDate]:
        """Every date that was moved, oldest first; the cursor is the id of one."""
        await self._sale(merchant_id, sale_id)
        if cursor is not None:
            moved = await queries_dates.find(self._pool, cursor)
            _check_cursor(known=moved is not None and moved.sale_id == sale_id)
        moves = await queries_dates.page(self._pool, sale_id, cursor, limit + 1)
        return Page(moves[:limit], moves[limit - 1].id if len(moves) > limit else None)

    async def promise_of(self, order_id: str) -> Promise | None:
        """What an order with a deposit was promised; None for every other order."""
        return await queries_dates.promise_of(self._pool, order_id)

    async def may_cancel_freely(self, connection: Transaction, order_id: str) -> bool:
        """Whether a promised date was moved and the order may be cancelled for it even now."""
        promise = await queries_dates.promise_of(connection, order_id)
        until = None if promise is None else promise.free_until_ms
        return until is not None and milliseconds(self._clock()) < until

    async def _sale(self, merchant_id: str, sale_id: str) -> SaleFacts:
        sale = await find_sale(self._pool, sale_id)
        if sale is None or sale.merchant_id != merchant_id:
            raise UnknownSaleError
        if sale.preorder is None:
            raise errors.NotAPreorderError
        return sale


def _item(sale: SaleFacts, sku: str) -> ItemFacts:
    item = sale.item_of(sku)
    if item is None:
        raise UnknownSkuError
    return item


def _part(parts: list[CapPart], wave: str | None) -> CapPart:
    found = next((part for part in parts if part.wave == (wave or "")), None)
    if found is None:
        raise errors.UnknownWaveError
    return found


def _check_cursor(*, known: bool) -> None:
    if not known:
        raise ValidationFailedError([FieldError("/cursor", "Is not a cursor of this list.")])


def _named(prefix: str, sale_id: str, key: str) -> str:
    digest = hashlib.blake2b(f"{prefix}:{sale_id}:{key}".encode(), digest_size=12)
    return f"{prefix}_{digest.hexdigest()}"
