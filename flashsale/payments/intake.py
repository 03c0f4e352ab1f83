"""Intake: a provider's verified events go into the money ledger, each once, with what they change.

One transaction takes a batch; after it a callback may be answered 200. It never asks Redis or a
provider: what follows from the money is wished for in the outbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flashsale.payments import kinds, queries
from flashsale.payments import queries_intake as ledger
from flashsale.payments.judging import Verdict, judge
from flashsale.payments.provider import MoneyKind, ProviderEvent
from flashsale.payments.queries_intake import Arrival, Entry, EventKey
from flashsale.payments.queries_outbox import Wish, wish
from flashsale.payments.records import PaymentRecord, RefundRecord
from flashsale.payments.values import (
    MoneyCounters,
    PaymentState,
    RefundState,
    Taken,
    TakenAs,
)
from flashsale.reservation.gather import Gather
from flashsale.settlement.faults import Fault, fault_of
from flashsale.settlement.queries import Connection, Pool

_DUPLICATE = Taken(TakenAs.DUPLICATE, "in the ledger already")


class Intake:
    """Takes events of every provider. `take` raises Postgres' errors: then it was not taken."""

    def __init__(
        self,
        pool: Pool,
        counters: MoneyCounters,
        *,
        batch_max: int = 128,
        waiting_max: int = 8192,
    ) -> None:
        self._pool = pool
        self._counters = counters
        self._place = 0
        self._taking: Gather[Arrival, Taken | Exception] = Gather(
            self._take_all, batch_max=batch_max, waiting_max=waiting_max
        )

    async def take(self, provider: str, event: ProviderEvent) -> Taken:
        """Put an event into the ledger; the same id again changes nothing."""
        taken = await self._taking.submit(Arrival(provider, event))
        if isinstance(taken, Exception):
            raise taken
        return taken

    async def retry(self, limit: int = 200) -> int:
        """Try some of the events that wait, going round; how many found their use."""
        waiting, self._place = await ledger.waiting_entries(self._pool, self._place, limit)
        taken = await self._take_all(waiting) if waiting else []
        kept = {TakenAs.UNMATCHED, TakenAs.RECEIVED}
        return sum(isinstance(each, Taken) and each.outcome not in kept for each in taken)

    async def _take_all(self, arrivals: Sequence[Arrival]) -> Sequence[Taken | Exception]:
        try:
            return await self._take_together(arrivals)
        except Exception as error:
            if len(arrivals) == 1 or fault_of(error) is not Fault.POISON:
                raise
        # One of them cannot be written; the others are not to suffer for it.
        answers: list[Taken | Exception] = []
        for arrival in arrivals:
            try:
                answers += await self._take_together([arrival])
            except Exception as error:  # noqa: BLE001 - its own caller hears of it
                answers.append(error)
        return answers

    async def _take_together(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        async def write(connection: Connection) -> _Batch:
            batch = _Batch(connection, arrivals)
            await batch.take()
            return batch

        batch = await queries.transact(self._pool, write)
        batch.count(self._counters)
        return [
            batch.taken[each.key] if batch.first[each.key] is each else _DUPLICATE
            for each in arrivals
        ]

    async def stop(self) -> None:
        """End the work; whoever waits is cancelled."""
        await self._taking.stop()


@dataclass(slots=True)
class _Batch:
    """One transaction over some events; what they change is kept here until it is written."""

    connection: Connection
    arrivals: Sequence[Arrival]
    first: dict[EventKey, Arrival] = field(default_factory=dict)
    taken: dict[EventKey, Taken] = field(default_factory=dict)
    payments: dict[str, PaymentRecord] = field(default_factory=dict)
    refunds: dict[str, RefundRecord] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    ended: dict[str, RefundState] = field(default_factory=dict)
    foreign: list[tuple[str, str, int, str]] = field(default_factory=list)
    wishes: set[Wish] = field(default_factory=set)
    entries: dict[EventKey, Entry] = field(default_factory=dict)
    verdicts: list[tuple[Arrival, Verdict]] = field(default_factory=list)

    async def take(self) -> None:
        """Read and lock what the events name, judge them, write what they change."""
        for each in self.arrivals:
            self.first.setdefault(each.key, each)
        names = await self._match(list(self.first.values()))
        self.payments = await queries.lock_payments(self.connection, filter(None, names.values()))
        # Refunds change under their payments' locks: what they are now is known from here on.
        self.refunds = await self._refunds(self.refunds)
        events = list(self.first.values())
        known = await ledger.known_entries(self.connection, events)
        fresh = [each for each in events if each.key not in known or self._waits(each, known)]
        self.taken = {each.key: _DUPLICATE for each in events}
        await self._judge_all([*fresh, *await self._early(fresh, names)], names)
        await self._write()

    @staticmethod
    def _waits(arrival: Arrival, known: dict[EventKey, TakenAs]) -> bool:
        return arrival.stored and known[arrival.key] in {TakenAs.RECEIVED, TakenAs.UNMATCHED}

    async def _match(self, events: Sequence[Arrival]) -> dict[EventKey, str | None]:
        """The payment that each event is of: by our name, by the provider's, by the refund's."""
        self.refunds = await self._refunds(each.event.refund_id for each in events)
        refs = {
            (each.provider, each.event.ref)
            for each in events
            if each.event.payment_id is None and each.event.ref is not None
        }
        by_ref = await ledger.payments_by_ref(self.connection, sorted(refs))
        names: dict[EventKey, str | None] = {}
        for each in events:
            event = each.event
            refund = self.refunds.get(event.refund_id or "")
            name = event.payment_id or by_ref.get((each.provider, event.ref or ""))
            names[each.key] = name or (refund.payment_id if refund else None)
        return names

    async def _refunds(self, names: Iterable[str | None]) -> dict[str, RefundRecord]:
        asked = {name for name in names if name}
        return await queries.read_refunds(self.connection, asked) if asked else {}

    async def _early(
        self, fresh: Sequence[Arrival], names: dict[EventKey, str | None]
    ) -> list[Arrival]:
        """Events that came before the money that comes in now."""
        captured = {
            names[each.key] for each in fresh if each.event.kind is MoneyKind.CAPTURED
        } & self.payments.keys()
        if not captured:
            return []
        ours = {each.key for each in fresh}
        early = await ledger.waiting_for_payments(self.connection, sorted(filter(None, captured)))
        names |= {each.key: each.event.payment_id for each in early if each.key not in ours}
        self.refunds |= await self._refunds(each.event.refund_id for each in early)
        return [each for each in early if each.key not in ours]

    async def _judge_all(
        self, arrivals: Sequence[Arrival], names: dict[EventKey, str | None]
    ) -> None:
        """In the order of arrival; what is too early once more behind what came after it."""
        pending = list(arrivals)
        while pending:
            early = [each for each in pending if self._judge(each, names[each.key])]
            if len(early) == len(pending):
                return
            pending = early

    def _judge(self, arrival: Arrival, name: str | None) -> bool:
        """Judge one event; whether it is too early."""
        event = arrival.event
        payment = self.payments.get(name or "")
        refund = self.refunds.get(event.refund_id or "")
        verdict = judge(arrival.provider, event, payment, refund)
        taken = Taken(verdict.outcome, verdict.note)
        self.taken[arrival.key] = taken
        refund_id = refund.id if refund else None
        if verdict.foreign and payment is not None:
            refund_id = f"{payment.id}.p.{event.id}"
            self.foreign.append((refund_id, payment.id, event.amount, event.currency))
        elif refund is not None and verdict.refund_state is not None:
            self.refunds[refund.id] = refund._replace(state=verdict.refund_state)
            self.ended[refund.id] = verdict.refund_state
        if verdict.payment is not None:
            self._change(verdict.payment, foreign=verdict.foreign)
        if verdict.outcome is not TakenAs.RECEIVED:
            self.verdicts.append((arrival, verdict))
        self.entries[arrival.key] = Entry(
            arrival, taken, payment.id if payment else None, refund_id
        )
        return verdict.outcome is TakenAs.RECEIVED

    def _change(self, payment: PaymentRecord, *, foreign: bool) -> None:
        before = self.payments[payment.id]
        self.payments[payment.id] = payment
        self.changed.add(payment.id)
        if payment.state is not before.state:
            self.wishes.add(Wish(kinds.APPLY_PAYMENT, payment.id))
        if foreign and payment.left == 0:
            self.wishes.add(Wish(kinds.CLOSE_EMPTIED, payment.order_id))

    async def _write(self) -> None:
        rows = list(self.entries.values())
        await ledger.insert_foreign_refunds(self.connection, self.foreign)
        await ledger.insert_entries(
            self.connection, [each for each in rows if not each.arrival.stored]
        )
        await ledger.update_entries(self.connection, [each for each in rows if each.arrival.stored])
        changed = [self.payments[name] for name in sorted(self.changed)]
        await ledger.take_money(self.connection, changed)
        await ledger.end_refunds(self.connection, self.ended)
        await wish(self.connection, self.wishes)

    def count(self, counters: MoneyCounters) -> None:
        """After the commit: what the batch has brought."""
        for arrival, verdict in self.verdicts:
            unmatched = verdict.outcome is TakenAs.UNMATCHED
            counters.unmatched += unmatched and not arrival.stored
            counters.quarantined += verdict.outcome is TakenAs.QUARANTINED
            counters.refunded += verdict.refund_state is RefundState.DONE or verdict.foreign
            counters.refund_failed += verdict.refund_state is RefundState.FAILED
            state = verdict.payment.state if verdict.payment else None
            counters.captured += (
                state is PaymentState.CAPTURED and arrival.event.kind is MoneyKind.CAPTURED
            )
            counters.declined += state is PaymentState.DECLINED
