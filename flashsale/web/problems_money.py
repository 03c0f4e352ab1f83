"""What buyers, merchants and providers are told where money is refused; the table's second part."""

from __future__ import annotations

#: Rows as in `errors`: code to (status, title, detail, Retry-After in seconds).
MONEY_PROBLEMS: dict[str, tuple[int, str, str] | tuple[int, str, str, int]] = {
    # Paying
    "order_not_confirmed": (
        409,
        "Not confirmed yet",
        "The order is still being confirmed. Try again in a moment.",
        1,
    ),
    "order_not_payable": (409, "Not payable", "An order in this state takes no payment."),
    "nothing_due": (409, "Nothing due", "All that is due now has been paid."),
    "payment_in_progress": (
        409,
        "Payment in progress",
        "Another payment of this order is not finished. Try again once it is.",
        1,
    ),
    "order_closing": (
        409,
        "Order closing",
        "A refund or change of this order is under way. Read it again in a moment.",
        1,
    ),
    "provider_unavailable": (
        503,
        "Provider unavailable",
        "The payment provider does not answer. Nothing was charged; try again.",
        2,
    ),
    # Giving back and sending
    "order_not_refundable": (409, "Not refundable", "There is no money to be given back for it."),
    "refund_above_captured": (
        409,
        "Above what came in",
        "The refund is more than was captured and not given back yet. Nothing was changed.",
    ),
    "order_not_shippable": (409, "Not shippable", "Only a paid order can be shipped."),
    "already_shipped": (409, "Shipped already", "The order was shipped with other details before."),
    "shipments_refused": (
        409,
        "Shipments refused",
        "Some lines cannot be carried out; errors names them. Nothing was changed.",
    ),
    # A provider's callbacks
    "unknown_provider": (404, "Unknown provider", "No callbacks of such a provider are taken."),
    "signature_invalid": (401, "Signature refused", "The callback is not signed by the provider."),
    "stamp_refused": (400, "Stamp refused", "The callback was signed more than 5 minutes off."),
    "callback_malformed": (400, "Malformed callback", "The callback is not what is documented."),
}
