"""Which wish is carried out by what. Others put their own kinds beside these."""

from __future__ import annotations

from collections.abc import Mapping

from flashsale.payments import kinds
from flashsale.payments.applying import Applying
from flashsale.payments.giving import Giving
from flashsale.payments.opening import Opening
from flashsale.payments.outbox import Handler


def handlers(opening: Opening, applying: Applying, giving: Giving) -> Mapping[str, Handler]:
    """Every kind of payments' own, with its handler."""
    return {
        kinds.OPEN_PAYMENT: opening.carry_on,
        kinds.CHARGE_PAYMENT: opening.charge,
        kinds.VOID_PAYMENT: opening.void,
        kinds.RECALL_PAYMENT: opening.recalling.recall,
        kinds.APPLY_PAYMENT: applying.apply,
        kinds.SEND_REFUND: giving.send_refund,
        kinds.RETURN_UNITS: giving.return_units,
        kinds.CLOSE_EMPTIED: giving.close_emptied,
    }
