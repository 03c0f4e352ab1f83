"""The hosted checkout: one plain page, readable without scripts and on a phone. Decides nothing."""

from __future__ import annotations

from decimal import Decimal
from html import escape

from flashsale.sandbox.values import Payment

#: Minor units of currencies that have not two digits (ISO 4217).
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; font: 100%/1.5 system-ui, sans-serif }}
main {{ max-width: 26rem; margin: 2rem auto; padding: 0 1rem }}
.amount {{ font-size: 2rem; font-weight: 600; margin: .5rem 0 }}
button {{ display: block; width: 100%; min-height: 3rem; margin: .75rem 0; font: inherit;
  border: 1px solid; border-radius: .5rem; cursor: pointer }}
button.pay {{ background: #0a6640; color: #fff; border-color: #0a6640 }}
:focus-visible {{ outline: 3px solid #1a73e8; outline-offset: 2px }}
small {{ opacity: .8 }}
</style></head><body><main>
<p><small>Sandbox: no real money moves.</small></p>
<h1>{heading}</h1>
<p>{description}</p>
<p class="amount">{amount}</p>
{rest}
<p><small>Payment {ref}</small></p>
</main></body></html>
"""

_FORM = """<form method="post">
<button class="pay" name="action" value="pay">Pay</button>
<button name="action" value="decline">Decline</button>
<button name="action" value="late">Pay late</button>
</form>
<p><small>Decline: the bank says no. Pay late: the money comes after the payment has expired.
</small></p>"""

_LATE = """<form method="post">
<button name="action" value="late">Pay late</button>
</form>"""

_HEADINGS = {
    "open": "Pay for your order",
    "captured": "Paid",
    "declined": "Declined",
    "expired": "The time to pay is over",
}


def amount_of(amount: int, currency: str) -> str:
    """Minor units as people read them."""
    digits = 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2
    return f"{Decimal(amount).scaleb(-digits):,.{digits}f} {currency}"


def render(payment: Payment, now_ms: int, notice: str = "") -> str:
    """The page of a payment; `notice` is what became of the last button."""
    heading, rest = _HEADINGS[payment.state], ""
    if payment.late_at_ms is not None:
        heading = "The money is on its way"
    elif payment.state == "open":
        rest = _FORM if now_ms < payment.expires_at_ms else _LATE
        heading = heading if now_ms < payment.expires_at_ms else _HEADINGS["expired"]
    elif payment.state == "expired":
        rest = _LATE
    if notice:
        rest = f'<p role="status">{escape(notice)}</p>{rest}'
    return _PAGE.format(
        title=escape(f"{heading}: {amount_of(payment.amount, payment.currency)}"),
        heading=escape(heading),
        description=escape(payment.description),
        amount=escape(amount_of(payment.amount, payment.currency)),
        rest=rest,
        ref=escape(payment.ref),
    )
