"""Asks both servers whether a strict sale may be promised on them. Changes nothing."""

from __future__ import annotations

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.store import ReservationStore
from flashsale.sales import errors, queries
from flashsale.sales.durability import durability_fault
from flashsale.sales.queries import Pool


async def check_servers(pool: Pool, store: ReservationStore, disk_free_min_bytes: int) -> None:
    """UnsafeDurabilityError, which says what to set; EffectPendingError where Redis is away."""
    try:
        redis = await store.server()
    except StoreUnavailableError as error:
        raise errors.EffectPendingError(
            "The store does not answer. Nothing was changed: try again."
        ) from error
    postgres = await queries.server(pool)
    fault = durability_fault(redis, postgres, disk_free_min_bytes=disk_free_min_bytes)
    if fault is not None:
        raise errors.UnsafeDurabilityError(fault)
