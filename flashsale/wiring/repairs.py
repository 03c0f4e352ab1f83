"""Puts together what an operator does by hand after something broke. Holds no rule of its own."""

from __future__ import annotations

from flashsale.clients import lane_inspector, postgres_pool
from flashsale.config import Settings
from flashsale.domain.events import EventKind
from flashsale.reconciliation.errors import NoLetterError, UnknownSaleError
from flashsale.reconciliation.watch import reopen as reopen_item
from flashsale.sales.queries import find_sale
from flashsale.settlement.letters import DeadLetter, Replayed, dead_letters, dismiss, replay
from flashsale.settlement.queries import Pool
from flashsale.settlement.settler import SERVER_SETTINGS
from flashsale.wiring.recovery import gated_store


async def reopen(settings: Settings, sale: str, sku: str, because: str) -> None:
    """Let a SKU be reserved again; ReconciliationError where that would be wrong."""
    async with (
        lane_inspector(settings) as inspector,
        postgres_pool(settings, 4) as pool,
        gated_store(settings, pool) as store,
    ):
        await reopen_item(pool, inspector, store, sale, sku, because)


async def list_dead_letters(settings: Settings, sale: str | None) -> list[DeadLetter]:
    """Every dead letter, or those of a sale."""
    async with postgres_pool(settings, 1) as pool:
        return await _letters(pool, sale, None)


async def replay_dead_letters(
    settings: Settings, sale: str | None, entry_id: str | None
) -> list[Replayed]:
    """Settle letters again, one after another; those that cannot be are told with the reason."""
    async with (
        postgres_pool(settings, 4, server_settings=SERVER_SETTINGS) as pool,
        gated_store(settings, pool) as store,
    ):

        async def give_back(sale_id: str, lane: int, order: str, buyer: str) -> None:
            facts = await find_sale(pool, sale_id)
            if facts is not None:
                kind = EventKind.REJECTED
                await store.release(sale_id, lane, facts.epoch, order, buyer, kind)

        letters = await _letters(pool, sale, entry_id)
        return [await replay(pool, letter, give_back) for letter in letters]


async def dismiss_dead_letters(
    settings: Settings, sale: str | None, entry_id: str, because: str
) -> list[tuple[DeadLetter, bool]]:
    """Remove letters for good where their units are free: each, and whether it is gone."""
    async with postgres_pool(settings, 1) as pool:
        letters = await _letters(pool, sale, entry_id)
        return [(letter, await dismiss(pool, letter, because)) for letter in letters]


async def _letters(pool: Pool, sale: str | None, entry_id: str | None) -> list[DeadLetter]:
    """Letters by name. Raises UnknownSaleError, and NoLetterError where `entry_id` names none."""
    if sale is not None and await find_sale(pool, sale) is None:
        raise UnknownSaleError(sale)
    found = await dead_letters(pool, sale, entry_id)
    if entry_id is not None and not found:
        raise NoLetterError(entry_id)
    return found
