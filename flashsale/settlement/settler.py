"""Settler: one batch of a lane, one transaction. It acknowledges nothing and never waits for Redis.

Locks are taken in one order everywhere: orders by id, items by number, the lane's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from flashsale.domain.events import Entry, OrderEvent
from flashsale.settlement import queries
from flashsale.settlement.faults import Fault, fault_of
from flashsale.settlement.plan import (
    Catalogue,
    Folded,
    IllegalEvent,
    NoRoomError,
    SettlementPlan,
    UnknownItemError,
    fold,
    plan,
    reject_overflow,
)
from flashsale.settlement.queries import Connection, Pool
from flashsale.stream.reader import Delivery, PoisonEntry

#: The settings a pool of settlement needs: a worker that is stopped in the middle of a transaction
#: must not keep everybody else from the rows it locked.
SERVER_SETTINGS = {"idle_in_transaction_session_timeout": "5000"}

_ATTEMPTS_MAX = 10


class RoomMayComeError(Exception):
    """There is no room yet, but a release that was decided earlier is still to be settled."""


class DrainedError(Exception):
    """Recovery has drained the lane since these entries were read; `epoch` is the oldest's."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"recovery has done with epoch {epoch}")
        self.epoch = epoch


@dataclass(slots=True)
class Settled:
    """What became of a delivery; all of it is in Postgres, so all of it may be acknowledged.

    `drained` counts entries that a recovery has done with since they were read.
    """

    rows: int = 0
    drained: int = 0
    rejected: list[OrderEvent] = field(default_factory=list)
    illegal: list[IllegalEvent] = field(default_factory=list)
    dead_letters: list[PoisonEntry] = field(default_factory=list)


class Settler:
    """Writes batches of any lane; several may run at once, in one process or many."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def check(self) -> None:
        """Raise what keeps Postgres from being asked."""
        await self._pool.fetchval("SELECT 1")

    async def catalogue(self, sale: str) -> Catalogue:
        """The sale's items as they are now: one may have been added since they were read."""
        async with self._pool.acquire() as connection:
            return await queries.read_catalogue(connection, sale)

    async def settle(
        self,
        catalogue: Catalogue,
        lane: int,
        delivery: Delivery,
        *,
        patient: bool = False,
        current: bool = True,
    ) -> Settled:
        """Put a delivery into Postgres: orders, counters, or dead letters.

        Batches may commit out of order, and the units of a reservation come from a release before
        it: `patient` raises RoomMayComeError instead of rejecting while one may be under way.
        Where the catalogue is not `current`, an unknown item is an UnknownItemError and no poison.
        Settling twice is settling once. Raises what faults.fault_of calls an outage, with nothing
        or only whole parts of the delivery written; then settle it again.
        """
        settled = Settled()
        async with self._pool.acquire() as connection:
            if delivery.entries:
                work = _Work(connection, catalogue, lane, delivery, settled, patient, current)
                await work.settle(delivery.entries)
            if delivery.poison:
                await queries.add_dead_letters(
                    connection, catalogue.sale, lane, list(delivery.poison)
                )
                settled.dead_letters.extend(delivery.poison)
        return settled


@dataclass(slots=True)
class _Work:
    """One call of `settle`."""

    connection: Connection
    catalogue: Catalogue
    lane: int
    delivery: Delivery
    settled: Settled
    patient: bool
    current: bool

    async def settle(self, entries: Sequence[Entry]) -> None:
        """Settle entries together, or in halves where one of them cannot be."""
        try:
            changes = await self._settle_together(entries)
        except RoomMayComeError:
            raise
        except DrainedError as drained:
            # What was in it is settled, or accounted for as lost and perhaps sold to others since.
            newer = [entry for entry in entries if entry.epoch > drained.epoch]
            if newer:
                await self.settle(newer)
            self.settled.drained += len(entries) - len(newer)
            return
        except Exception as error:
            # On a connection that ended, no error tells anything about the data.
            if fault_of(error) is not Fault.POISON or self.connection.is_closed():
                raise
            if isinstance(error, UnknownItemError) and not self.current:
                raise
            await self._settle_apart(entries, error)
            return
        self.settled.rows += len(changes.inserts) + len(changes.updates)
        self.settled.rejected.extend(changes.rejected)
        self.settled.illegal.extend(changes.illegal)

    async def _settle_apart(self, entries: Sequence[Entry], error: Exception) -> None:
        if len(entries) > 1:
            middle = len(entries) // 2
            await self.settle(entries[:middle])
            await self.settle(entries[middle:])
            return
        if await queries.is_drained(self.connection, self.catalogue.sale, self.lane, entries[0]):
            self.settled.drained += 1  # it was in the way of what others did since
            return
        letter = self.delivery.as_poison(entries[0], f"{type(error).__name__}: {error}")
        await queries.add_dead_letters(self.connection, self.catalogue.sale, self.lane, [letter])
        self.settled.dead_letters.append(letter)

    async def _settle_together(self, entries: Sequence[Entry]) -> SettlementPlan:
        batch = fold(entries)
        # A first event is almost always new: only where its insert fails is it looked up.
        orders = batch.changed_orders()
        for _ in range(_ATTEMPTS_MAX - 1):
            try:
                return await self._transact(batch, orders)
            except asyncpg.PostgresError as error:
                if fault_of(error) is not Fault.AGAIN:
                    raise
                orders = list(batch.newest)
        return await self._transact(batch, orders)

    async def _transact(self, batch: Folded, orders: Sequence[str]) -> SettlementPlan:
        connection, sale = self.connection, self.catalogue.sale
        async with connection.transaction():
            known = await queries.lock_orders(connection, sale, orders)
            changes = plan(self.catalogue, batch, known)
            await queries.insert_orders(connection, changes.inserts)
            await queries.update_orders(connection, changes.updates)
            if changes.live_deltas:
                changes = await self._count(batch, changes)
            if not await queries.advance_lane(connection, sale, self.lane, batch):
                raise DrainedError(batch.epoch)
        return changes

    async def _count(self, batch: Folded, changes: SettlementPlan) -> SettlementPlan:
        """INV-2 under the items' locks: what does not fit is rejected, the rest is live."""
        room = await queries.lock_room(self.connection, self.catalogue.sale, changes.live_deltas)
        try:
            fitting = reject_overflow(self.catalogue.sale, changes, batch, room)
        except NoRoomError:
            await self._be_patient(batch)
            raise
        if fitting is not changes:
            await self._be_patient(batch)
            refused = fitting.rejected[len(changes.rejected) :]
            await queries.reject_orders(self.connection, self.catalogue.sale, refused)
        await queries.add_live(self.connection, self.catalogue.sale, fitting.live_deltas)
        return fitting

    async def _be_patient(self, batch: Folded) -> None:
        if self.patient and await queries.has_gap(
            self.connection, self.catalogue.sale, self.lane, batch
        ):
            raise RoomMayComeError("entries before these are not settled yet")
