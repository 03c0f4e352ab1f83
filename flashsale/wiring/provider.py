"""Makes the payment provider that settings name. Holds no rule of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from flashsale.clients import StartError
from flashsale.config import Settings, plain, words
from flashsale.payments.provider import Provider
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.payments.providers.stripe import MissingLibraryError, StripeProvider


@contextlib.asynccontextmanager
async def payment_provider(settings: Settings) -> AsyncIterator[Provider | None]:
    """The provider of a process, closed afterwards; None where none is set.

    StartError where the library that it needs is not installed.
    """
    provider = _made(settings)
    try:
        yield provider
    finally:
        if provider is not None:
            await provider.close()


def _made(settings: Settings) -> Provider | None:
    payments = settings.payments
    if payments.provider == "sandbox":
        return SandboxProvider(
            payments.sandbox_url,
            api_key=plain(settings.sandbox_api_key) or "",
            webhook_secrets=words(settings.sandbox_webhook_secrets),
            timeout_ms=payments.provider_timeout_ms,
            connections_max=payments.provider_connections_max,
        )
    if payments.provider == "stripe":
        try:
            return StripeProvider(
                plain(settings.stripe_api_key) or "",
                webhook_secrets=words(settings.stripe_webhook_secrets),
                checkout_url=payments.stripe_checkout_url,
                url=payments.stripe_url,
                timeout_ms=payments.provider_timeout_ms,
                connections_max=payments.provider_connections_max,
            )
        except MissingLibraryError as error:
            raise StartError(str(error)) from None
    return None
