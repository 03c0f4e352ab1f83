"""Puts together what an operator does by hand after something broke. Holds no rule of its own."""

from __future__ import annotations

from flashsale.clients import lane_inspector, postgres_pool, reservation_store
from flashsale.config import Settings
from flashsale.domain.events import EventKind
from flashsale.reconciliation.watch import reopen as reopen_item
from flashsale.sales.queries import find_sale
from flashsale.settlement.letters import DeadLetter, Replayed, dead_letters, replay
from flashsale.settlement.settler import SERVER_SETTINGS


async def reopen(settings: Settings, sale: str, sku: str, because: str) -> None:
    """Let a SKU be reserved again; ReconciliationError where that would be wrong."""
    async with (
        lane_inspector(settings) as inspector,
        reservation_store(settings) as store,
        postgres_pool(settings, 4) as pool,
    ):
        await reopen_item(pool, inspector, store, sale, sku, because)


async def list_dead_letters(settings: Settings, sale: str | None) -> list[DeadLetter]:
    """Every dead letter, or those of a sale."""
    async with postgres_pool(settings, 1) as pool:
        return await dead_letters(pool, sale)


async def replay_dead_letters(
    settings: Settings, sale: str | None, entry_id: str | None
) -> list[Replayed]:
    """Settle letters again, one after another; those that cannot be are told with the reason."""
    async with (
        reservation_store(settings) as store,
        postgres_pool(settings, 4, server_settings=SERVER_SETTINGS) as pool,
    ):

        async def give_back(sale_id: str, lane: int, order: str, buyer: str) -> None:
            facts = await find_sale(pool, sale_id)
            if facts is not None:
                kind = EventKind.REJECTED
                await store.release(sale_id, lane, facts.epoch, order, buyer, kind)

        letters = await dead_letters(pool, sale, entry_id)
        return [await replay(pool, letter, give_back) for letter in letters]
