"""The rules of the sandbox: what may happen to a payment. Runs in the storage's thread.

Every function checks before it writes, so that a refusal leaves nothing behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from flashsale.sandbox.values import (
    REF_PREFIX,
    ChargeForm,
    Event,
    OpenForm,
    Payment,
    RefundForm,
    SandboxError,
    Switches,
    share,
)

STATEMENT_MAX = 1000
_PAYMENT = ", ".join(Payment._fields)
_EVENT = ", ".join(Event._fields)
# Put together of our own names, and of nothing that anybody sends.
_PAYMENTS = f"SELECT {_PAYMENT} FROM payments WHERE "  # noqa: S608
_EVENTS = f"SELECT {_EVENT}, undelivered FROM events WHERE "  # noqa: S608
_FIND = _PAYMENTS + "payment_id = ?"
_FIND_LATE = _PAYMENTS + "late_at_ms <= ? LIMIT 100"
_MOVED = "type IN ('payment.captured', 'payment.refunded') ORDER BY seq"
_MOVEMENTS = _EVENTS + "seq > ? AND " + _MOVED + " LIMIT ?"
_MOVEMENTS_OF = _EVENTS + "payment_id = ? AND " + _MOVED
_PENDING = (
    "SELECT (SELECT count(*) FROM events WHERE undelivered > 0),"
    " (SELECT count(*) FROM payments WHERE late_at_ms IS NOT NULL)"
)
_UNDELIVERED = _EVENTS + "undelivered > 0 ORDER BY seq"
_ADD = "INSERT INTO payments VALUES (" + ", ".join("?" * len(Payment._fields)) + ")"  # noqa: S608
_ADD_EVENT = "INSERT INTO events VALUES (" + "?, " * len(Event._fields) + "?)"  # noqa: S608


class Outcome(NamedTuple):
    """A payment, and what there is to tell of it; `created` is false for a repetition."""

    payment: Payment
    event: Event | None = None
    created: bool = False


class Book:
    """The rules over one file. `nonce` makes its events' ids unique among all files."""

    def __init__(self, nonce: str, last_seq: int) -> None:
        self._nonce = nonce
        self._seq = last_seq

    def find(self, connection: sqlite3.Connection, ref: str) -> Payment:
        """A payment by the sandbox' name for it. SandboxError 404."""
        found = connection.execute(_FIND, (ref.removeprefix(REF_PREFIX),)).fetchone()
        if found is None or not ref.startswith(REF_PREFIX):
            raise SandboxError(404, "unknown_payment", "There is no such payment.")
        return Payment._make(found)

    def open(self, connection: sqlite3.Connection, form: OpenForm) -> Outcome:
        """Open a payment, or find it again by its id. SandboxError 409 where it is another."""
        if (known := self._same(connection, form)) is not None:
            return Outcome(known)
        payment = _new(form, None, "open")
        connection.execute(_ADD, payment)
        return Outcome(payment, created=True)

    def charge(
        self, connection: sqlite3.Connection, form: ChargeForm, switches: Switches, now_ms: int
    ) -> Outcome:
        """Charge a saved buyer: captured or declined at once, by the share of the payment's id."""
        if (known := self._same(connection, form)) is not None:
            return Outcome(known)
        saved = self.find(connection, form.saved_ref)
        if saved.state != "captured" or not saved.save:
            raise SandboxError(409, "not_saved", "That payment was not saved for later charges.")
        own = switches if form.switches is None else form.switches.over(switches)
        declined = share(form.payment_id, "decline") < own.decline
        payment = _new(form, form.saved_ref, "declined" if declined else "captured")
        connection.execute(_ADD, payment)
        kind = "payment.declined" if declined else "payment.captured"
        return Outcome(payment, self._tell(connection, kind, payment, own, now_ms), created=True)

    def _same(self, connection: sqlite3.Connection, form: OpenForm) -> Payment | None:
        found = connection.execute(_FIND, (form.payment_id,)).fetchone()
        if found is None:
            return None
        known = Payment._make(found)
        asked = (form.order_id, form.amount, form.currency, getattr(form, "saved_ref", None))
        if (known.order_id, known.amount, known.currency, known.saved_ref) != asked:
            raise SandboxError(409, "another_payment", "That id names another payment.")
        return known

    def pay(
        self, connection: sqlite3.Connection, ref: str, switches: Switches, now_ms: int
    ) -> Outcome:
        """The buyer pays in time; SandboxError 409 once the payment has ended or expired."""
        payment = self._open_payment(connection, ref)
        own = payment.switches_over(switches)
        if own.late:
            return self.pay_late(connection, ref, switches)
        if now_ms >= payment.expires_at_ms:
            raise SandboxError(409, "expired", "The time to pay is over.")
        return self._end(connection, payment, "captured", own, now_ms)

    def pay_late(self, connection: sqlite3.Connection, ref: str, switches: Switches) -> Outcome:
        """The buyer pays, and the money comes after the payment's end: `late_at_ms` says when."""
        payment = self.find(connection, ref)
        if payment.state not in {"open", "expired"}:
            raise SandboxError(409, payment.state, f"The payment is {payment.state}.")
        late_at_ms = payment.expires_at_ms + payment.switches_over(switches).late_ms
        connection.execute(
            "UPDATE payments SET late_at_ms = ? WHERE payment_id = ?",
            (late_at_ms, payment.payment_id),
        )
        return Outcome(payment._replace(late_at_ms=late_at_ms))

    def capture_late(
        self, connection: sqlite3.Connection, switches: Switches, now_ms: int
    ) -> list[Outcome]:
        """Capture what late payers' money has come for."""
        due = connection.execute(_FIND_LATE, (now_ms,)).fetchall()
        payments = [Payment._make(row) for row in due]
        return [self._end(connection, each, "captured", switches, now_ms) for each in payments]

    def decline(
        self, connection: sqlite3.Connection, ref: str, switches: Switches, now_ms: int
    ) -> Outcome:
        """The buyer's bank says no, which ends the payment."""
        payment = self._open_payment(connection, ref)
        return self._end(connection, payment, "declined", switches, now_ms)

    def expire(
        self, connection: sqlite3.Connection, ref: str, switches: Switches, now_ms: int
    ) -> Outcome:
        """Close an open payment; closed twice is closed. SandboxError 409 where it was paid."""
        payment = self.find(connection, ref)
        if payment.state == "captured":
            raise SandboxError(409, "captured", "The payment is captured.")
        if payment.state != "open":
            return Outcome(payment)
        return self._end(connection, payment, "expired", switches, now_ms)

    def refund(
        self, connection: sqlite3.Connection, form: RefundForm, switches: Switches, now_ms: int
    ) -> Outcome:
        """Give back part of a payment, once for each refund id. SandboxError 409 above it."""
        payment = self.find(connection, form.ref)
        known = connection.execute(
            "SELECT payment_id, amount FROM refunds WHERE refund_id = ?", (form.refund_id,)
        ).fetchone()
        if known is not None:
            if known != (payment.payment_id, form.amount):
                raise SandboxError(409, "another_refund", "That id names another refund.")
            return Outcome(payment)
        if payment.state != "captured" or payment.refunded + form.amount > payment.amount:
            raise SandboxError(409, "refund_above_captured", "More than was captured.")
        connection.execute(
            "INSERT INTO refunds VALUES (?, ?, ?)",
            (form.refund_id, payment.payment_id, form.amount),
        )
        connection.execute(
            "UPDATE payments SET refunded = refunded + ? WHERE payment_id = ?",
            (form.amount, payment.payment_id),
        )
        payment = payment._replace(refunded=payment.refunded + form.amount)
        own = payment.switches_over(switches)
        event = self._tell(connection, "payment.refunded", payment, own, now_ms, refund=form)
        return Outcome(payment, event, created=True)

    def movements(
        self, connection: sqlite3.Connection, after: str | None, limit: int
    ) -> list[Event]:
        """Captures and refunds behind an event, oldest first. SandboxError 404."""
        seq = 0
        if after is not None:
            found = connection.execute(
                "SELECT seq FROM events WHERE seq = ? AND id = ?",
                (_number(after), after),
            ).fetchone()
            if found is None:
                raise SandboxError(404, "unknown_event", "There is no such event.")
            seq = found[0]
        rows = connection.execute(_MOVEMENTS, (seq, min(limit, STATEMENT_MAX)))
        return [Event._make(row[:-1]) for row in rows]

    def movements_of(self, connection: sqlite3.Connection, ref: str) -> list[Event]:
        """Likewise those of one payment, all of them."""
        payment = self.find(connection, ref)
        rows = connection.execute(_MOVEMENTS_OF, (payment.payment_id,))
        return [Event._make(row[:-1]) for row in rows]

    def undelivered(self, connection: sqlite3.Connection) -> list[tuple[Event, int]]:
        """Callbacks that nobody has taken yet, and how many times each is still to be sent."""
        rows: Iterable[tuple[object, ...]] = connection.execute(_UNDELIVERED)
        return [(Event._make(row[:-1]), int(str(row[-1]))) for row in rows]

    def pending(self, connection: sqlite3.Connection) -> dict[str, int]:
        """What is still on its way: callbacks that nobody has taken, and money of late payers."""
        callbacks, late = connection.execute(_PENDING).fetchone()
        return {"callbacks": callbacks, "late": late}

    def delivered(self, connection: sqlite3.Connection, seq: int) -> None:
        """A callback was taken, once."""
        connection.execute(
            "UPDATE events SET undelivered = undelivered - 1 WHERE seq = ? AND undelivered > 0",
            (seq,),
        )

    def _open_payment(self, connection: sqlite3.Connection, ref: str) -> Payment:
        payment = self.find(connection, ref)
        if payment.state != "open":
            raise SandboxError(409, payment.state, f"The payment is {payment.state}.")
        return payment

    def _end(
        self,
        connection: sqlite3.Connection,
        payment: Payment,
        state: str,
        switches: Switches,
        now_ms: int,
    ) -> Outcome:
        # Money that is on its way comes, even where the payment has expired meanwhile.
        late = payment.late_at_ms if state == "expired" else None
        connection.execute(
            "UPDATE payments SET state = ?, late_at_ms = ? WHERE payment_id = ?",
            (state, late, payment.payment_id),
        )
        payment = payment._replace(state=state, late_at_ms=late)
        own = payment.switches_over(switches)
        event = self._tell(connection, f"payment.{state}", payment, own, now_ms)
        return Outcome(payment, event, created=True)

    def _tell(
        self,
        connection: sqlite3.Connection,
        kind: str,
        payment: Payment,
        switches: Switches,
        now_ms: int,
        *,
        refund: RefundForm | None = None,
    ) -> Event:
        self._seq += 1
        captured = kind == "payment.captured"
        event = Event(
            seq=self._seq,
            id=f"evt_{self._nonce}_{self._seq}",
            type=kind,
            payment_id=payment.payment_id,
            refund_id=None if refund is None else refund.refund_id,
            order_id=payment.order_id,
            amount=payment.amount if refund is None else refund.amount,
            currency=payment.currency,
            fee=payment.amount * switches.fee_basis_points // 10_000 if captured else 0,
            occurred_at_ms=now_ms,
        )
        connection.execute(_ADD_EVENT, (*event, 1 + switches.duplicate))
        return event


def _new(form: OpenForm, saved_ref: str | None, state: str) -> Payment:
    return Payment(
        payment_id=form.payment_id,
        order_id=form.order_id,
        amount=form.amount,
        currency=form.currency,
        description=form.description,
        expires_at_ms=form.expires_at_ms,
        save=int(form.save),
        saved_ref=saved_ref,
        state=state,
        refunded=0,
        late_at_ms=None,
        switches=None
        if form.switches is None
        else form.switches.model_dump_json(exclude_none=True).encode(),
    )


def _number(event_id: str) -> int:
    number = event_id.rpartition("_")[2]
    return int(number) if number.isdecimal() and len(number) < 19 else 0
