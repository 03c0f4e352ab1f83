"""What merchants are told where a command about webhooks is refused; a part of the table.

Rows as in `problems_money`.
"""

from __future__ import annotations

WEBHOOK_PROBLEMS: dict[str, tuple[int, str, str] | tuple[int, str, str, int]] = {
    "unknown_webhook": (404, "Unknown webhook", "There is no such webhook."),
    "unknown_delivery": (404, "Unknown delivery", "There is no such delivery."),
    "webhook_limit": (
        409,
        "Too many webhooks",
        "You have as many webhooks as one merchant may have. Delete one first.",
    ),
    "webhook_disabled": (409, "Webhook disabled", "The webhook is disabled. Enable it first."),
    "delivery_pending": (
        409,
        "Still being tried",
        "The delivery is still being tried. Nothing was changed.",
    ),
}
