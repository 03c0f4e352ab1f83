"""Why a command about webhooks was refused; the web maps each to a problem document.

SaleError
├── UnknownWebhookError         404 unknown_webhook: none of that id, or another merchant's
├── UnknownDeliveryError        404 unknown_delivery
├── WebhookLimitError           409 webhook_limit: a merchant has so many endpoints and no more
├── WebhookDisabledError        409 webhook_disabled: enable it first
├── DeliveryPendingError        409 delivery_pending: it is still being tried
└── ValidationFailedError       422 validation_failed: an address that is never sent to
AddressRefusedError             an address is not one that the engine connects to
"""

from __future__ import annotations

from flashsale.sales.errors import SaleError


class AddressRefusedError(Exception):
    """Nothing is sent there; the message is one sentence for the merchant."""


class UnknownWebhookError(SaleError):
    """No such endpoint, or it belongs to another merchant: the answer is the same."""

    code, status, message = "unknown_webhook", 404, "There is no such webhook."


class UnknownDeliveryError(SaleError):
    """The endpoint has no such delivery, or no longer."""

    code, status, message = "unknown_delivery", 404, "There is no such delivery."


class WebhookLimitError(SaleError):
    """The merchant has as many endpoints as one may have."""

    code, status = "webhook_limit", 409
    message = "You have as many webhooks as one merchant may have. Delete one first."


class WebhookDisabledError(SaleError):
    """Nothing is sent to a disabled endpoint."""

    code, status = "webhook_disabled", 409
    message = "The webhook is disabled. Enable it first."


class DeliveryPendingError(SaleError):
    """What is still being tried cannot be replayed."""

    code, status = "delivery_pending", 409
    message = "The delivery is still being tried. Nothing was changed."
