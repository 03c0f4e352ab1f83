"""Functions of the engine replaced by ones with a bug, in this process only."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flashsale.domain.orders import OrderState, is_live
from flashsale.domain.outcomes import Decision, Status
from flashsale.payments import queries
from flashsale.payments.applying import _TAKEN, Told, _Changes
from flashsale.payments.giving import Giving
from flashsale.payments.intake import Intake
from flashsale.payments.provider import MoneyKind
from flashsale.payments.values import RefundState, Taken, TakenAs
from flashsale.recovery.protocol import Recovery
from flashsale.reservation import follower
from flashsale.reservation.desk import LaneDesk
from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.follower import Follower
from flashsale.reservation.replies import Expired, Request
from flashsale.reservation.store import ReservationStore
from flashsale.settlement import settler
from flashsale.settlement.lane import LaneSettlement
from flashsale.settlement.plan import Catalogue, Folded, KnownOrder, SettlementPlan

_HOLD_MS = 3_000


def acknowledge_before_commit() -> None:
    """The group forgets entries that are then lost with the process."""
    original = LaneSettlement._keep

    async def keep(self: LaneSettlement, delivery: Any, stop: Any) -> None:
        if delivery.size:
            await self.reader.acknowledge(delivery.entry_ids)
        await original(self, delivery, stop)

    LaneSettlement._keep = keep


def settle_twice() -> None:
    """Old news of an order are counted once more."""
    original = settler.plan

    def plan(
        catalogue: Catalogue, batch: Folded, known: Mapping[str, KnownOrder]
    ) -> SettlementPlan:
        changes = original(catalogue, batch, known)
        deltas = dict(changes.live_deltas)
        for order, (event, _) in batch.newest.items():
            before = known.get(order)
            if before and event.version <= before.version and is_live(before.state):
                deltas[event.item] = deltas.get(event.item, 0) + event.quantity
        return replace(changes, live_deltas=deltas)

    settler.plan = plan


def older_event_wins() -> None:
    """Whatever is known of an order, any event may follow."""
    original = settler.plan

    def plan(
        catalogue: Catalogue, batch: Folded, known: Mapping[str, KnownOrder]
    ) -> SettlementPlan:
        anew = {"version": 0, "state": OrderState.CONFIRMED}
        return original(catalogue, batch, {order: e._replace(**anew) for order, e in known.items()})

    settler.plan = plan


def wrong_price() -> None:
    """A unit costs one more than was said."""
    original = settler.plan

    def plan(
        catalogue: Catalogue, batch: Folded, known: Mapping[str, KnownOrder]
    ) -> SettlementPlan:
        dearer = {item: amount + 1 for item, amount in catalogue.amounts.items()}
        return original(catalogue._replace(amounts=dearer), batch, known)

    settler.plan = plan


def sold_out_by_flag() -> None:
    """The last reading of a lane is enough to refuse anybody."""

    def shut(self: Follower, request: Request) -> bool:
        known = self.known
        return known is not None and follower._refusal(known, request) is not None

    async def judge(self: Follower, requests: Sequence[Request]) -> list[Decision | None]:
        tail = await self.catch_up()
        return [follower._refusal(tail, request) for request in requests]

    Follower.shut, Follower.judge = shut, judge


def never_expire() -> None:
    """The clock's work is not done."""

    async def expire_due(*_: Any) -> Expired:
        return Expired(0, None)

    ReservationStore.expire_due = expire_due


def forget_refund() -> None:
    """The provider never hears of it."""

    async def send_refund(self: Giving, refund_id: str) -> None:
        found = (await queries.read_refunds(self._pool, [refund_id])).get(refund_id)
        if found is not None:
            marked = found, RefundState.DONE, f"sbx_{refund_id}"
            await queries.mark_refunds(self._pool, [marked])

    Giving.send_refund = send_refund


def keep_late_money() -> None:
    """What Redis refused is taken for paid."""
    original = _Changes.finish

    def finish(self: _Changes, told: Told) -> None:
        if told.captured and told.moved.status not in _TAKEN:
            self.applied.append(told.payment_id)
        else:
            original(self, told)

    _Changes.finish = finish


def lose_callbacks() -> None:
    """One capture in four is taken and not written down."""
    original = Intake.take

    async def take(self: Intake, provider: str, event: Any) -> Taken:
        if event.kind is MoneyKind.CAPTURED and zlib.crc32(event.id.encode()) % 4 == 0:
            return Taken(TakenAs.APPLIED, "")
        return await original(self, provider, event)

    Intake.take = take


def recover_without_draining() -> None:
    """What the streams still hold is left for later."""
    original = Recovery._recover

    async def nothing(_: str, __: int) -> None:
        return None

    async def recover(self: Recovery, *args: Any) -> Any:
        return await original(replace(self, drain=nothing), *args)

    Recovery._recover = recover


def miss_news() -> None:
    """A web process hears of no change, and so of no new epoch."""
    from flashsale.wiring import web_process

    async def listen(*_: Any) -> None:
        await asyncio.Event().wait()

    web_process._listen = listen


def answer_without_asking() -> None:
    """No answer is taken for a good one."""
    original = LaneDesk._reserve

    async def reserve(self: LaneDesk, requests: Sequence[Request]) -> list[Decision]:
        try:
            return await original(self, requests)
        except StoreUnavailableError:
            deadline_ms = time.time_ns() // 1_000_000 + _HOLD_MS
            return [Decision(Status.RESERVED, deadline_ms)] * len(requests)

    LaneDesk._reserve = reserve
