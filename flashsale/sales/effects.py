"""Brings Redis in line with a sale as Postgres records it. Never decides what a sale should be.

Every step may be repeated and may be taken by several processes at once: a lane is looked at
first, and told only what it does not know yet.
"""

from __future__ import annotations

from flashsale.domain.lanes import split
from flashsale.domain.outcomes import Status
from flashsale.domain.sales import LANE_STATES, RUNNING_STATES, SaleState
from flashsale.reservation.errors import LaneLostError
from flashsale.reservation.replies import LaneSnapshot
from flashsale.reservation.store import ReservationStore
from flashsale.sales import queries
from flashsale.sales.queries import Pool
from flashsale.sales.values import SaleFacts

#: Commands that cross are told once more each; the timekeeper looks again in any case.
_LOOKS_MAX = 5


async def enact(pool: Pool, store: ReservationStore, sale: SaleFacts) -> int:
    """Arm the lanes where that was not done, then make terms and state match; how many changed.

    Raises StoreUnavailableError (repeat it) and LaneLostError (recovery is due: a lane that
    should be there is never made anew here, its stock would be wrong).
    """
    if sale.state is SaleState.DRAFT or sale.retired:
        return 0
    if not sale.armed:
        await _arm(pool, store, sale)
    changed = 0 if sale.armed else sale.lanes
    for lane in range(sale.lanes):
        snapshot = await store.snapshot(sale.id, lane)
        if snapshot.epoch != sale.epoch:
            raise LaneLostError(Status.FOREIGN_EPOCH.value)
        # Also where the sale has ended since: what Postgres counts, every lane has to know.
        if len(snapshot.stock) < len(sale.items):
            await _add_items(pool, store, sale, lane, len(snapshot.stock))
            snapshot = await store.snapshot(sale.id, lane)
            changed += 1
        changed += await _align(store, sale, lane, snapshot)
        changed += await _align_items(store, sale, lane, snapshot)
    return changed


async def bring_in_line(pool: Pool, store: ReservationStore, sale_id: str) -> SaleFacts | None:
    """Enact a sale until what was told is what Postgres still says: commands may cross.

    The sale as it stands then; None where there is none. Raises as `enact` does.
    """
    told = None
    for _ in range(_LOOKS_MAX):
        sale = await queries.find_sale(pool, sale_id)
        if sale is None or _told(sale) == told:
            return sale
        await enact(pool, store, sale)
        told = _told(sale)
    return await queries.find_sale(pool, sale_id)


def _told(sale: SaleFacts) -> tuple[object, ...]:
    return sale.state, sale.terms, len(sale.items), _shut(sale)


def _shut(sale: SaleFacts) -> frozenset[int]:
    return frozenset(item.item for item in sale.items if item.shut_reason is not None)


async def _arm(pool: Pool, store: ReservationStore, sale: SaleFacts) -> None:
    """Write every lane's terms and its share of the stock.

    Supply is added only to armed sales, so whoever arms, and however often, writes the same stock.
    """
    # Asked first: where Redis restarts in between, the lanes are of a later run, and are rebuilt.
    run = await store.run_id()
    shares = [split(item.capacity, sale.lanes) for item in sale.items]
    for lane in range(sale.lanes):
        capacities = [share[lane] for share in shares]
        status = await store.open_sale(sale.id, lane, sale.epoch, sale.terms, capacities)
        if status is Status.FOREIGN_EPOCH:
            raise LaneLostError(status.value)
    await queries.mark_armed(pool, sale.id, run)


async def _add_items(
    pool: Pool, store: ReservationStore, sale: SaleFacts, lane: int, first: int
) -> None:
    """Tell a lane of items that came after it was armed.

    Each gets its share of what the item was given at first: waves that came since name the item
    themselves, and are told on their own.
    """
    units = await queries.first_supply(pool, sale.id, first)
    for item, given in enumerate(units, start=first):
        share = split(given, sale.lanes)[lane]
        status = await store.add_item(sale.id, lane, sale.epoch, item, share)
        if status in {Status.MISSING_LANE, Status.FOREIGN_EPOCH}:
            raise LaneLostError(status.value)


async def _align(
    store: ReservationStore, sale: SaleFacts, lane: int, snapshot: LaneSnapshot
) -> bool:
    """Tell one lane what it does not know yet; whether there was anything."""
    place = (sale.id, lane, sale.epoch)
    wanted = LANE_STATES[sale.state]
    renewed = sale.state in RUNNING_STATES and snapshot.terms != sale.terms
    if renewed:
        status = await store.renew_terms(*place, sale.terms, len(snapshot.stock))
        if status in {Status.MISSING_LANE, Status.FOREIGN_EPOCH}:
            raise LaneLostError(status.value)  # gone since it was looked at: never made anew here
    if snapshot.state == wanted:
        return renewed
    if sale.state is SaleState.PAUSED:
        await store.pause(*place, sale.revision)
    elif sale.state in RUNNING_STATES:
        await store.resume(*place, sale.revision)
    else:
        await store.close_sale(*place, cancelled=sale.state is SaleState.CANCELLED)
    return True


async def _align_items(
    store: ReservationStore, sale: SaleFacts, lane: int, snapshot: LaneSnapshot
) -> bool:
    """Tell one lane which SKUs are shut and which no longer are; whether there was anything."""
    wanted = _shut(sale)
    for item in wanted ^ snapshot.shut:
        status = await store.shut_item(sale.id, lane, sale.epoch, item, shut=item in wanted)
        if status in {Status.MISSING_LANE, Status.FOREIGN_EPOCH}:
            raise LaneLostError(status.value)
    return wanted != snapshot.shut
