"""What a provider's event means for a payment. Pure: it changes copies and asks nobody.

The checks, in this order: known to us, of use to us, of the payment's provider, of its currency
and amount; then whether it can be used yet.
"""

from __future__ import annotations

from typing import NamedTuple

from flashsale.payments.provider import MoneyKind, ProviderEvent
from flashsale.payments.records import PaymentRecord, RefundRecord
from flashsale.payments.values import PaymentState, RefundState, TakenAs

_UNDER_WAY = frozenset({PaymentState.CREATED, PaymentState.OPEN})
_UNPAID = {MoneyKind.DECLINED: PaymentState.DECLINED, MoneyKind.EXPIRED: PaymentState.VOID}


class Verdict(NamedTuple):
    """What becomes of an event: `payment` and `refund_state` are new where they change.

    `foreign`: the money was given back at the provider, and there is no row for it yet.
    """

    outcome: TakenAs
    note: str | None = None
    payment: PaymentRecord | None = None
    refund_state: RefundState | None = None
    foreign: bool = False


def judge(
    provider: str,
    event: ProviderEvent,
    payment: PaymentRecord | None,
    refund: RefundRecord | None,
) -> Verdict:
    """Judge one event by the rows it names; `payment` is as earlier events have left it."""
    if event.kind is MoneyKind.OTHER:
        return Verdict(TakenAs.IGNORED, "of no use to us")
    if payment is None:
        return Verdict(TakenAs.UNMATCHED, "no such payment")
    if payment.provider != provider:
        return Verdict(TakenAs.QUARANTINED, "the payment is another provider's")
    if refund is not None and refund.payment_id != payment.id:
        return Verdict(TakenAs.QUARANTINED, "the refund is another payment's")
    return _JUDGES[event.kind](event, payment, refund)


def _captured(event: ProviderEvent, payment: PaymentRecord, _: RefundRecord | None) -> Verdict:
    if event.currency != payment.currency:
        return Verdict(TakenAs.QUARANTINED, "another currency than was asked")
    if event.amount != payment.amount:
        return Verdict(TakenAs.QUARANTINED, "another amount than was asked")
    if payment.state is PaymentState.CAPTURED:
        # Providers may tell of one movement in two events. Another name for it is other money.
        if event.ref is not None and event.ref == payment.provider_ref:
            return Verdict(TakenAs.IGNORED, "captured already")
        return Verdict(TakenAs.QUARANTINED, "captured before, under another name")
    changed = payment._replace(
        state=PaymentState.CAPTURED,
        captured=event.amount,
        fee=payment.fee + event.fee,
        provider_ref=payment.provider_ref or event.ref,
    )
    return Verdict(TakenAs.APPLIED, payment=changed)


def _unpaid(event: ProviderEvent, payment: PaymentRecord, _: RefundRecord | None) -> Verdict:
    if payment.state not in _UNDER_WAY:
        return Verdict(TakenAs.IGNORED, f"the payment is {payment.state.value} already")
    changed = payment._replace(state=_UNPAID[event.kind])
    return Verdict(TakenAs.APPLIED, payment=changed)


def _refunded(event: ProviderEvent, payment: PaymentRecord, refund: RefundRecord | None) -> Verdict:
    if event.currency != payment.currency:
        return Verdict(TakenAs.QUARANTINED, "another currency than was paid")
    if payment.state is not PaymentState.CAPTURED:
        return Verdict(TakenAs.RECEIVED, "the money has not come in yet")
    changed = payment._replace(
        refunded=payment.refunded + event.amount, fee=payment.fee + event.fee
    )
    if refund is None:
        return _given_back_elsewhere(event, payment, changed)
    if refund.state is RefundState.DONE:
        return Verdict(TakenAs.IGNORED, "refunded already")
    if event.amount != refund.amount:
        return Verdict(TakenAs.QUARANTINED, "another amount than was given back")
    return Verdict(TakenAs.APPLIED, payment=changed, refund_state=RefundState.DONE)


def _given_back_elsewhere(
    event: ProviderEvent, payment: PaymentRecord, changed: PaymentRecord
) -> Verdict:
    if not 0 < event.amount <= payment.left:
        return Verdict(TakenAs.QUARANTINED, "more goes back than came in")
    changed = changed._replace(refunding=payment.refunding + event.amount)
    return Verdict(TakenAs.APPLIED, payment=changed, foreign=True)


def _refund_failed(_: ProviderEvent, __: PaymentRecord, refund: RefundRecord | None) -> Verdict:
    if refund is None:
        return Verdict(TakenAs.QUARANTINED, "a refund that we know nothing of has failed")
    if refund.state is RefundState.DONE:
        return Verdict(TakenAs.QUARANTINED, "a refund that was paid out has failed")
    return Verdict(TakenAs.APPLIED, refund_state=RefundState.FAILED)


_JUDGES = {
    MoneyKind.CAPTURED: _captured,
    MoneyKind.DECLINED: _unpaid,
    MoneyKind.EXPIRED: _unpaid,
    MoneyKind.REFUNDED: _refunded,
    MoneyKind.REFUND_FAILED: _refund_failed,
}
