"""Why a merchant's command on a pre-order was refused; the web maps each as it does a sale's.

SaleError
├── NotAPreorderError      409 not_a_preorder: the sale takes no deposits
├── UnknownWaveError       404 unknown_wave: no supply of this SKU with a date of its own
└── KeyReusedError         422 idempotency_key_reused: the key named something else
"""

from __future__ import annotations

from flashsale.sales.errors import SaleError


class NotAPreorderError(SaleError):
    """Lots and promised dates belong to pre-orders."""

    code, status = "not_a_preorder", 409
    message = "The sale is not a pre-order. Nothing was changed."


class UnknownWaveError(SaleError):
    """The SKU has no wave of that name."""

    code, status = "unknown_wave", 404
    message = "No supply of this SKU with a ships_at of its own has this id."


class KeyReusedError(SaleError):
    """The idempotency key was sent before with another body."""

    code, status = "idempotency_key_reused", 422
    message = "This key was sent before with another body. Nothing was changed."
