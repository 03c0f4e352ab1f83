"""The client of Stripe, through its own library. Decides nothing, and keeps no card.

Buyers pay on a page of the merchant's, made with Stripe's form: its address is a setting, and the
payment's client secret is filled into it. A payment intent never ends by itself; our sweep closes
it. What a refund has come to is read from `refund.*`; `charge.refunded` tells the same again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import aiohttp
import orjson

from flashsale.payments.provider import (
    STAMP_SECONDS_MAX,
    Asked,
    Checkout,
    MalformedError,
    ProviderEvent,
    ProviderRefusedError,
    ProviderUnavailableError,
    SignatureError,
    StampError,
    StatementLine,
)
from flashsale.payments.providers.stripe_events import event_of, line_of, movements_of

if TYPE_CHECKING:
    import stripe
    from stripe.params import PaymentIntentCreateParams

NAME = "stripe"
PAGE_LINES = 100
_PLACE = "{client_secret}"
_Answer = TypeVar("_Answer")


class MissingLibraryError(Exception):
    """The extra `stripe` is not installed; one line that says how to."""


class StripeProvider:
    """Stripe at `url`, called with `api_key`; callbacks are signed with one of `webhook_secrets`.

    Must be made where an event loop runs, and closed there. The library repeats nothing by itself.
    Raises MissingLibraryError.
    """

    def __init__(
        self,
        api_key: str,
        *,
        webhook_secrets: tuple[str, ...],
        checkout_url: str,
        url: str = "https://api.stripe.com",
        timeout_ms: int = 5000,
        connections_max: int = 32,
    ) -> None:
        try:
            import stripe  # noqa: PLC0415 - an extra, needed by nobody else
        except ImportError:
            raise MissingLibraryError(
                "payments.provider is stripe: pip install 'flashsale[stripe]'."
            ) from None
        self._signature = stripe.WebhookSignature
        self._stripe_error = stripe.StripeError
        self._secrets = webhook_secrets
        self._checkout_url = checkout_url
        timeout = aiohttp.ClientTimeout(total=timeout_ms / 1000)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max), timeout=timeout
        )
        self._client = stripe.StripeClient(
            api_key,
            http_client=stripe.AIOHTTPClient(timeout=timeout, session=self._session),
            base_addresses={"api": url.rstrip("/")},
            max_network_retries=0,
        )

    @property
    def name(self) -> str:
        """As the ledger names it."""
        return NAME

    async def open(self, asked: Asked) -> Checkout:
        """Open a payment intent, once for each payment id."""
        params = _intent(asked)
        if asked.save:
            customer = await self._call(
                self._client.v1.customers.create_async(
                    {"metadata": {"payment_id": asked.payment_id}},
                    {"idempotency_key": f"customer-{asked.payment_id}"},
                )
            )
            params["customer"] = customer.id
            params["payment_method_options"] = {"card": {"setup_future_usage": "off_session"}}
        intent = await self._create(asked, params)
        secret = quote(intent.client_secret or "", safe="")
        return Checkout(intent.id, self._checkout_url.replace(_PLACE, secret))

    async def charge(self, asked: Asked, saved_ref: str) -> Checkout:
        """Charge the card that paid `saved_ref`; the outcome comes as a callback.

        ProviderRefusedError where that payment saved none, or Stripe refused without a payment.
        """
        saved = await self._call(self._client.v1.payment_intents.retrieve_async(saved_ref))
        if saved.customer is None or saved.payment_method is None:
            raise ProviderRefusedError("stripe: that payment was not saved for later charges")
        params = _intent(asked)
        params["customer"] = _id(saved.customer)
        params["payment_method"] = _id(saved.payment_method)
        params["confirm"] = True
        params["off_session"] = True
        return Checkout((await self._create(asked, params)).id, None)

    async def _create(
        self, asked: Asked, params: PaymentIntentCreateParams
    ) -> stripe.PaymentIntent:
        return await self._call(
            self._client.v1.payment_intents.create_async(
                params, {"idempotency_key": f"payment-{asked.payment_id}"}
            )
        )

    async def expire(self, ref: str) -> None:
        """Cancel a payment intent; ProviderRefusedError where it was paid."""
        try:
            await self._call(self._client.v1.payment_intents.cancel_async(ref))
        except ProviderRefusedError:
            intent = await self._call(self._client.v1.payment_intents.retrieve_async(ref))
            if intent.status != "canceled":
                raise

    async def refund(self, refund_id: str, ref: str, amount: int) -> str:
        """Give back part of a payment, once for each refund id; anew where that has failed.

        Stripe forgets its keys after a day; a repetition that comes later finds the refund itself.
        """
        known = await self._refunds(ref)
        ours = [each for each in known if _metadata(each).get("refund_id") == refund_id]
        for refund in ours:
            if refund.status not in {"failed", "canceled"}:
                return str(refund.id)
        attempt = f"-{len(ours)}" if ours else ""
        refund = await self._call(
            self._client.v1.refunds.create_async(
                {"payment_intent": ref, "amount": amount, "metadata": {"refund_id": refund_id}},
                {"idempotency_key": f"refund-{refund_id}{attempt}"},
            )
        )
        return str(refund.id)

    async def movements(self, ref: str) -> Sequence[ProviderEvent]:
        """The capture of a payment and the newest attempt of each refund of ours.

        Stripe lists no events of one payment, so they are named after the charge and the refund;
        a callback that comes all the same is known by what it tells.
        """
        intent = await self._call(
            self._client.v1.payment_intents.retrieve_async(ref, {"expand": ["latest_charge"]})
        )
        refunds = await self._refunds(ref) if intent.status == "succeeded" else []
        return movements_of(intent.to_dict(), [each.to_dict() for each in reversed(refunds)])

    async def _refunds(self, ref: str) -> Sequence[stripe.Refund]:
        """The newest first; one payment of ours never has more than a page of them."""
        page = await self._call(
            self._client.v1.refunds.list_async({"payment_intent": ref, "limit": PAGE_LINES})
        )
        return page.data

    async def statement(self, after: str | None) -> AsyncIterator[StatementLine]:
        """Stripe's balance transactions behind `after`, oldest first; a line each is kept at once.

        Stripe lists the newest first, so they are read back to `after` before the first is told.
        """
        lines: list[StatementLine] = []
        cursor: str | None = None
        while True:
            page = await self._call(
                self._client.v1.balance_transactions.list_async(
                    {
                        "limit": PAGE_LINES,
                        "expand": ["data.source"],
                        **({} if cursor is None else {"starting_after": cursor}),
                    }
                )
            )
            for booked in page.data:
                cursor = booked.id
                if cursor == after:
                    break
                if (line := await self._line(booked.to_dict())) is not None:
                    lines.append(line)
            if cursor == after or not page.has_more:
                break
        for line in reversed(lines):
            yield line

    async def _line(self, booked: Mapping[str, Any]) -> StatementLine | None:
        line = line_of(booked)
        intent = booked["source"].get("payment_intent") if line is not None else None
        if line is None or line.payment_id is not None or not isinstance(intent, str):
            return line
        found = await self._call(self._client.v1.payment_intents.retrieve_async(intent))
        return line._replace(payment_id=_metadata(found).get("payment_id"))

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> ProviderEvent:
        """Check a callback as Stripe says, and read it. CallbackError.

        The signature is looked at first: only what Stripe signed is told more.
        """
        given = {name.lower(): value for name, value in headers.items()}
        header = given.get("stripe-signature", "")
        # Bytes that are no UTF-8 come as surrogates, and the library compares ASCII only.
        if not header.isascii() or not any(
            self._is_signed(body, header, secret) for secret in self._secrets
        ):
            raise SignatureError("The callback's signature does not fit.")
        if abs(now - _stamp(header)) > STAMP_SECONDS_MAX:
            raise StampError("The callback's stamp is too far from now.")
        try:
            return event_of(orjson.loads(body))
        except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, ValueError):
            raise MalformedError("The callback is not what Stripe sends.") from None

    def _is_signed(self, body: bytes, header: str, secret: str) -> bool:
        try:
            # Without a tolerance: the library would ask the system's clock.
            self._signature.verify_header(body, header, secret, None)
        except (self._stripe_error, UnicodeDecodeError):
            return False
        return True

    async def _call(self, asking: Awaitable[_Answer]) -> _Answer:
        try:
            return await asking
        except self._stripe_error as error:
            status = error.http_status
            said = f"stripe: {type(error).__name__} {error.code or ''} (HTTP {status})"
            if status is None or status in {408, 409, 429} or status >= 500:
                raise ProviderUnavailableError(said) from None
            raise ProviderRefusedError(said) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ProviderUnavailableError(f"stripe: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()


def _intent(asked: Asked) -> PaymentIntentCreateParams:
    return {
        "amount": asked.amount,
        "currency": asked.currency.lower(),
        "metadata": {
            "payment_id": asked.payment_id,
            "order_id": asked.order_id,
            "description": asked.description[:500],
        },
    }


def _id(named: Any) -> str:
    return named if isinstance(named, str) else str(named.id)


def _metadata(known: Any) -> Mapping[str, str]:
    found = known.to_dict().get("metadata") or {}
    return {str(name): str(value) for name, value in found.items()}


def _stamp(header: str) -> int:
    stamps = [part[2:] for part in header.split(",") if part.startswith("t=")]
    return int(stamps[0])
