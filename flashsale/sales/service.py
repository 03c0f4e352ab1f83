"""The merchant's commands on sales: intent to Postgres first, effect to Redis second.

A crash between the two is finished by the timekeeper. Every command may be repeated: where the
sale is already as asked, it is answered as it stands.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from flashsale.domain.identity import sale_id_from
from flashsale.domain.sales import (
    RUNNING_STATES,
    SALE_TRANSITIONS,
    SaleAction,
    SaleState,
    transition,
)
from flashsale.reservation.errors import LaneLostError, StoreBusyError, StoreUnavailableError
from flashsale.reservation.store import ReservationStore
from flashsale.sales import errors, queries
from flashsale.sales.checks import (
    check_edit,
    check_new_item,
    check_sale,
    check_supply,
    form_of,
    form_of_item,
)
from flashsale.sales.effects import bring_in_line
from flashsale.sales.forms import ItemForm, SaleForm, SalePatch, SupplyForm
from flashsale.sales.queries import Pool
from flashsale.sales.servers import check_servers
from flashsale.sales.supply import carry_out, supply_id_of
from flashsale.sales.values import Page, SaleFacts, Supply, SupplyState, instant, milliseconds

#: Where an action leads; a sale that is there already is answered as it stands.
_TARGETS = {
    SaleAction.SCHEDULE: frozenset({SaleState.SCHEDULED, SaleState.OPEN}),
    SaleAction.PAUSE: frozenset({SaleState.PAUSED}),
    SaleAction.RESUME: frozenset({SaleState.OPEN}),
    SaleAction.CLOSE: frozenset({SaleState.CLOSED}),
    SaleAction.CANCEL: frozenset({SaleState.CANCELLED}),
}
_UNTOLD = (StoreUnavailableError, StoreBusyError, LaneLostError)


class SaleService:
    """Commands and reads of sales. `clock` is now in UTC; refusals are `sales.errors`."""

    def __init__(
        self,
        pool: Pool,
        store: ReservationStore,
        clock: Callable[[], datetime],
        *,
        hold_seconds_min: int = 1,
        production: bool = False,
        relaxed: bool = False,
        disk_free_min_bytes: int = 0,
    ) -> None:
        self._pool = pool
        self._store = store
        self._clock = clock
        # A real launch gives a buyer minutes to pay; demos and tests of expiry need seconds.
        self._hold_seconds_min = hold_seconds_min
        self._production = production
        self._disk_free_min_bytes = disk_free_min_bytes
        # What the servers do not keep, no sale may claim.
        self._relaxed = relaxed

    async def facts(self, sale_id: str) -> SaleFacts:
        """Any sale, drafts too: ask `is_public` before showing it. UnknownSaleError."""
        sale = await queries.find_sale(self._pool, sale_id)
        if sale is None:
            raise errors.UnknownSaleError
        return sale

    async def get(self, merchant_id: str, sale_id: str) -> SaleFacts:
        """A merchant's own sale; UnknownSaleError for another's."""
        sale = await self.facts(sale_id)
        if sale.merchant_id != merchant_id:
            raise errors.UnknownSaleError
        return sale

    async def list_public(self, cursor: str | None = None, limit: int = 50) -> Page[SaleFacts]:
        """Sales that buyers may look at, those that start last first."""
        page = queries.page_of_ids(self._pool, "page_of_public", cursor=cursor, limit=limit)
        ids, following = await page
        return Page(await queries.find_sales(self._pool, ids), following)

    async def list(
        self, merchant_id: str, cursor: str | None = None, limit: int = 50
    ) -> Page[SaleFacts]:
        """A merchant's sales, newest first."""
        ids, following = await queries.page_of_ids(
            self._pool, "page_of_merchant", merchant_id, cursor=cursor, limit=limit
        )
        return Page(await queries.find_sales(self._pool, ids), following)

    async def create(self, merchant_id: str, form: SaleForm) -> SaleFacts:
        """A draft. ValidationFailedError."""
        check_sale(form, self._clock(), hold_seconds_min=self._hold_seconds_min)
        if self._relaxed:
            form = form.model_copy(update={"durability": "relaxed"})
        sale_id = sale_id_from(secrets.token_bytes(8))
        await queries.create_sale(self._pool, sale_id, merchant_id, form)
        return await self.facts(sale_id)

    async def patch(
        self, merchant_id: str, sale_id: str, patch: SalePatch, revision: int
    ) -> SaleFacts:
        """Edit what the sale's state allows, if it still is at `revision`.

        StaleRevisionError, UnsafeEditError, ValidationFailedError, EffectPendingError.
        """
        sale = await self.get(merchant_id, sale_id)
        if sale.revision != revision:
            raise errors.StaleRevisionError
        now, named = self._clock(), frozenset(patch.model_fields_set)
        current = form_of(sale)
        check_edit(patch, sale.visible_state(milliseconds(now)), current)
        edited = current.model_copy(update={name: getattr(patch, name) for name in named})
        check_sale(edited, now, hold_seconds_min=self._hold_seconds_min, named=named)
        if "items" in named and await queries.has_pending_supply(self._pool, sale_id):
            fault = errors.FieldError("/items", "Supply is planned for the present items.")
            raise errors.UnsafeEditError([fault])
        if not named:
            return sale
        if not await queries.edit_sale(self._pool, sale, edited, items="items" in named):
            raise errors.StaleRevisionError
        return await self._enact(sale_id)

    async def schedule(self, merchant_id: str, sale_id: str) -> SaleFacts:
        """Announce a draft: its lanes are written now and open by themselves at `starts_at`.

        UnsafeDurabilityError in production where the servers may forget, ValidationFailedError
        where the sale's end has passed, and all that `pause` raises.
        """
        sale = await self.get(merchant_id, sale_id)
        if sale.state is SaleState.DRAFT:
            if sale.ends_at_ms <= milliseconds(self._clock()):
                fault = errors.FieldError("/ends_at", "Has passed already.")
                raise errors.ValidationFailedError([fault])
            await self._check_durability(sale)
        return await self._act(merchant_id, sale_id, SaleAction.SCHEDULE)

    async def pause(self, merchant_id: str, sale_id: str) -> SaleFacts:
        """Stop selling for a while. IllegalTransitionError, EffectPendingError."""
        return await self._act(merchant_id, sale_id, SaleAction.PAUSE)

    async def resume(self, merchant_id: str, sale_id: str) -> SaleFacts:
        """Sell again; UnsafeDurabilityError as `schedule` does, and all that `pause` raises."""
        sale = await self.get(merchant_id, sale_id)
        if sale.state is SaleState.PAUSED:
            await self._check_durability(sale)
        return await self._act(merchant_id, sale_id, SaleAction.RESUME)

    async def close(self, merchant_id: str, sale_id: str) -> SaleFacts:
        """End the sale; live holds keep their time. Raises as `pause` does."""
        return await self._act(merchant_id, sale_id, SaleAction.CLOSE)

    async def cancel(self, merchant_id: str, sale_id: str) -> SaleFacts:
        """Call the sale off; the timekeeper ends its live holds. Raises as `pause` does."""
        return await self._act(merchant_id, sale_id, SaleAction.CANCEL)

    async def add_item(self, merchant_id: str, sale_id: str, form: ItemForm) -> SaleFacts:
        """Sell one more SKU in a sale that is announced; the same form again changes nothing.

        IllegalTransitionError on a draft, which is edited, and once the sale is over;
        ValidationFailedError, EffectPendingError.
        """
        now_ms = milliseconds(self._clock())
        await self.get(merchant_id, sale_id)
        async with queries.sale_lock(self._pool, sale_id) as transaction:
            sale = await queries.find_sale(transaction, sale_id)
            assert sale is not None
            known = sale.item_of(form.sku)
            if known is not None:
                (given, *_) = await queries.first_supply(transaction, sale_id, known.item)
                if form_of_item(replace(known, capacity=given)) != form:
                    fault = errors.FieldError("/sku", "Stands for another item already.")
                    raise errors.ValidationFailedError([fault])
            else:
                visible = sale.visible_state(now_ms)
                if visible not in RUNNING_STATES:
                    raise errors.IllegalTransitionError(visible)
                check_new_item(form, sale)
                await queries.add_item(transaction, sale, form)
        return await self._enact(sale_id)

    async def add_supply(
        self,
        merchant_id: str,
        sale_id: str,
        form: SupplyForm,
        *,
        idempotency_key: str | None = None,
    ) -> Supply:
        """A wave or a cut, now or at its instant. With a key, a repetition is the same supply.

        SupplyBelowLiveError, SupplyKeyReusedError, UnknownSkuError, IllegalTransitionError once
        the sale is over, ValidationFailedError, EffectPendingError.
        """
        now_ms = milliseconds(self._clock())
        sale = await self.get(merchant_id, sale_id)
        item = sale.item_of(form.sku)
        if item is None:
            raise errors.UnknownSkuError
        supply_id = supply_id_of(sale_id, idempotency_key)
        known = await queries.find_supply(self._pool, supply_id) if idempotency_key else None
        if known is None:
            visible = sale.visible_state(now_ms)
            if visible in {SaleState.CLOSED, SaleState.CANCELLED}:
                raise errors.IllegalTransitionError(visible)
            ends_at, waves = instant(sale.ends_at_ms), sale.preorder is not None
            check_supply(form, instant(now_ms), ends_at, waves=waves)
            await queries.insert_supply(
                self._pool,
                supply_id,
                sale_id,
                item=item.item,
                quantity=form.quantity,
                at=form.at or instant(now_ms),
                reason=form.reason,
                ships_at=form.ships_at,
            )
            known = await queries.find_supply(self._pool, supply_id)
        assert known is not None
        at_ms = known.at_ms if form.at is None else milliseconds(form.at)
        asked = (item.item, form.quantity, form.reason, at_ms)
        if (known.item, known.quantity, known.reason, known.at_ms) != asked:
            raise errors.SupplyKeyReusedError
        return await self._carry_out(known, now_ms)

    async def list_supplies(
        self, merchant_id: str, sale_id: str, cursor: str | None = None, limit: int = 50
    ) -> Page[Supply]:
        """A sale's waves and cuts, oldest first."""
        await self.get(merchant_id, sale_id)
        ids, following = await queries.page_of_ids(
            self._pool, "page_of_supplies", sale_id, cursor=cursor, limit=limit
        )
        return Page(await queries.find_supplies(self._pool, ids), following)

    async def _carry_out(self, supply: Supply, now_ms: int) -> Supply:
        if supply.state is SupplyState.PENDING and supply.at_ms <= now_ms:
            try:
                supply = await carry_out(self._pool, self._store, supply.id)
            except _UNTOLD as error:
                raise errors.EffectPendingError from error
        if supply.state is SupplyState.REFUSED:
            if supply.quantity > 0:
                fault = errors.FieldError("/quantity", "Would exceed what one SKU may have.")
                raise errors.ValidationFailedError([fault])
            raise errors.SupplyBelowLiveError
        return supply

    async def _act(self, merchant_id: str, sale_id: str, action: SaleAction) -> SaleFacts:
        sale = await self.get(merchant_id, sale_id)
        if sale.state not in _TARGETS[action]:
            visible = sale.visible_state(milliseconds(self._clock()))
            # A sale whose end has passed counts as closed, whether or not that is recorded yet.
            state = sale.state if action is SaleAction.CLOSE else visible
            target = transition(state, action)
            sources = [
                source
                for (source, leads), reached in SALE_TRANSITIONS.items()
                if leads is action and reached is target
            ]
            if target is None or not await queries.move_sale(self._pool, sale, sources, target):
                raise errors.IllegalTransitionError(visible)
        return await self._enact(sale_id)

    async def _enact(self, sale_id: str) -> SaleFacts:
        try:
            sale = await bring_in_line(self._pool, self._store, sale_id)
        except _UNTOLD as error:
            raise errors.EffectPendingError from error
        assert sale is not None
        return sale

    async def _check_durability(self, sale: SaleFacts) -> None:
        if self._production and sale.durability == "strict":
            await check_servers(self._pool, self._store, self._disk_free_min_bytes)
