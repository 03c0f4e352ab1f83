"""Waves and cuts: carries a recorded supply into Postgres' capacity and Redis' stock, once.

A wave enters Postgres' capacity before Redis may sell it; a cut leaves it after Redis has stopped
selling it. In between, Postgres only ever has more room than Redis sells (INV-2 stays the outer
bound). Each step commits before the next begins and may be repeated by anyone: Redis knows a
supply by its id. A cut is decided by the scripts, never by what was read before.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from flashsale.domain.lanes import split
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import RUNNING_STATES, SaleState
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.store import ReservationStore
from flashsale.sales import queries
from flashsale.sales.effects import enact
from flashsale.sales.queries import Pool, Transaction
from flashsale.sales.values import SaleFacts, Supply, SupplyState

_PENDING, _APPLIED, _REFUSED = SupplyState.PENDING, SupplyState.APPLIED, SupplyState.REFUSED
_TAKEN = frozenset({Status.DONE, Status.ALREADY})


async def carry_out(pool: Pool, store: ReservationStore, supply_id: str) -> Supply:
    """Take a due supply as far as it goes now; the supply as it stands then.

    `pending` afterwards: a cut that Redis has made waits for Postgres to settle the releases it
    rests on. Raises StoreUnavailableError or LaneLostError; what was done until then is kept.
    """
    supply = await _read(pool, supply_id)
    sale = await queries.find_sale(pool, supply.sale_id)
    assert sale is not None
    if supply.state is _REFUSED and supply.shares is not None:
        await _undo(pool, store, sale, supply)
    if supply.state is not _PENDING:
        return supply
    if sale.state is SaleState.DRAFT and await _count_on_draft(pool, supply):
        return await _read(pool, supply_id)
    if not sale.armed:
        await enact(pool, store, sale)
    if supply.quantity > 0:
        await _add(pool, store, sale, supply)
    else:
        await _cut(pool, store, sale, supply)
    return await _read(pool, supply_id)


async def _read(database: queries.Database, supply_id: str) -> Supply:
    supply = await queries.find_supply(database, supply_id)
    assert supply is not None
    return supply


async def _count_on_draft(pool: Pool, supply: Supply) -> bool:
    """A draft is Postgres' alone; False where it has been scheduled meanwhile."""
    async with queries.sale_lock(pool, supply.sale_id) as transaction:
        sale = await queries.find_sale(transaction, supply.sale_id)
        if sale is None or sale.state is not SaleState.DRAFT:
            return False
        if (await _read(transaction, supply.id)).state is _PENDING:
            await _count_or_refuse(transaction, supply, _APPLIED)
        return True


async def _count_or_refuse(transaction: Transaction, supply: Supply, state: SupplyState) -> None:
    if not await queries.count_supply(transaction, supply, state):
        await queries.end_supply(transaction, supply, _REFUSED, None)


async def _add(pool: Pool, store: ReservationStore, sale: SaleFacts, supply: Supply) -> None:
    async with queries.sale_lock(pool, sale.id) as transaction:
        sale = await queries.find_sale(transaction, sale.id) or sale
        supply = await _read(transaction, supply.id)
        if supply.state is _PENDING and supply.counted_at_ms is None:
            if sale.state in RUNNING_STATES:
                await _count_or_refuse(transaction, supply, _PENDING)
            else:
                await queries.end_supply(transaction, supply, _REFUSED, None)
            supply = await _read(transaction, supply.id)
    if supply.state is not _PENDING:
        return
    # Once the lanes are retired there is nobody left to tell.
    for lane, share in enumerate(split(supply.quantity, sale.lanes)):
        if sale.retired:
            break
        if share and not await _tell(store, sale, lane, supply.id, supply.item, share):
            raise AssertionError("Postgres' capacity has a bound that keeps Redis below its own")
    await queries.end_supply(pool, supply, _APPLIED, None)


async def _cut(pool: Pool, store: ReservationStore, sale: SaleFacts, supply: Supply) -> None:
    if sale.lanes > 1 and supply.shares is None and sale.state in RUNNING_STATES:
        shares = await _plan(store, sale, supply)
        if shares is not None:
            await queries.share_supply(pool, supply, shares)
    # The lock lasts over the calls to Redis: were a cut refused here and taken there, by two
    # processes between which a hold ended, Redis would lose units that Postgres still counts.
    async with queries.sale_lock(pool, sale.id) as transaction:
        supply = await _read(transaction, supply.id)
        if supply.state is not _PENDING:
            return
        if sale.retired or (sale.lanes > 1 and supply.shares is None):
            await queries.end_supply(transaction, supply, _REFUSED, None)
            return
        if await _take(store, sale, supply):
            await queries.count_supply(transaction, supply, _APPLIED)
            return
        await queries.end_supply(transaction, supply, _REFUSED, supply.shares)
    if supply.shares is not None:
        await _undo(pool, store, sale, supply)


async def _plan(store: ReservationStore, sale: SaleFacts, supply: Supply) -> tuple[int, ...] | None:
    snapshots = [await store.snapshot(sale.id, lane) for lane in range(sale.lanes)]
    unsold = [snapshot.stock[supply.item].available for snapshot in snapshots]
    return cut_shares(-supply.quantity, unsold)


def cut_shares(wanted: int, unsold: Sequence[int]) -> tuple[int, ...] | None:
    """A cut's negative shares in proportion to each lane's unsold units; None: too few."""
    total = sum(unsold)
    if wanted > total:
        return None
    shares = [wanted * available // total for available in unsold]
    for lane, available in enumerate(unsold):
        # Rounding down left some units over, fewer than there are lanes with any to spare.
        shares[lane] += min(wanted - sum(shares), available - shares[lane])
    return tuple(-share for share in shares)


async def _take(store: ReservationStore, sale: SaleFacts, supply: Supply) -> bool:
    for lane, share in enumerate(_shares(sale, supply)):
        if share and not await _tell(store, sale, lane, supply.id, supply.item, share):
            return False
    return True


async def _undo(pool: Pool, store: ReservationStore, sale: SaleFacts, supply: Supply) -> None:
    """Give back what some lanes had of a cut that another lane refused.

    Each lane is asked for its share again before it is given back: the answer tells whether it
    had taken it, and a late first call finds the id known.
    """
    async with queries.sale_lock(pool, sale.id) as transaction:
        if not sale.retired:
            for lane, share in enumerate(_shares(sale, supply)):
                if share and await _tell(store, sale, lane, supply.id, supply.item, share):
                    await _tell(store, sale, lane, f"{supply.id}.undo", supply.item, -share)
        await queries.end_supply(transaction, supply, _REFUSED, None)


def _shares(sale: SaleFacts, supply: Supply) -> tuple[int, ...]:
    return supply.shares or split(supply.quantity, sale.lanes)


async def _tell(
    store: ReservationStore, sale: SaleFacts, lane: int, supply_id: str, item: int, share: int
) -> bool:
    """Whether a lane has taken a share, now or before; False where too few units are unsold."""
    status = await store.add_supply(sale.id, lane, sale.epoch, supply_id, item, share)
    # A lane may be told of an item later than Postgres has it: its supply waits for that.
    if status in {Status.MISSING_LANE, Status.FOREIGN_EPOCH, Status.UNKNOWN_SKU}:
        raise LaneLostError(status.value)
    return status in _TAKEN


def supply_id_of(sale_id: str, idempotency_key: str | None) -> str:
    """The id of a supply that is asked for: the same for the same key, else a new one."""
    if idempotency_key is None:
        return f"sup_{secrets.token_hex(12)}"
    named = hashlib.blake2b(f"{sale_id}{idempotency_key}".encode(), digest_size=12)
    return f"sup_{named.hexdigest()}"
