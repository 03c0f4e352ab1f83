"""The kinds of wishes in the outbox that payments make and carry out. Names only."""

from __future__ import annotations

#: Subject: a payment.
OPEN_PAYMENT = "open_payment"
CHARGE_PAYMENT = "charge_payment"
VOID_PAYMENT = "void_payment"
APPLY_PAYMENT = "apply_payment"
RECALL_PAYMENT = "recall_payment"
#: Subject: a refund.
SEND_REFUND = "send_refund"
#: Subject: an order.
RETURN_UNITS = "return_units"
CLOSE_EMPTIED = "close_emptied"
