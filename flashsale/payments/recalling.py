"""Recalling: what moved at a provider is booked where no callback tells it. It decides nothing.

Whoever asks hears the very events that callbacks carry, and intake takes them as it takes those: a
callback that comes after all finds its row in the ledger. Movements are only ever added.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import structlog

from flashsale.payments import queries
from flashsale.payments.outbox import NotYetError
from flashsale.payments.provider import Provider, ProviderEvent, ProviderUnavailableError
from flashsale.payments.records import PaymentRecord
from flashsale.payments.values import Taken, TakenAs
from flashsale.sales.values import milliseconds
from flashsale.settlement.queries import Pool

_LOG = structlog.get_logger(__name__)
#: A refund that is still on its way is asked about again after as long as it has been so far.
_AGAIN_MS_MIN, _AGAIN_MS_MAX = 60_000, 6 * 3_600_000


class Recalling:
    """Raises ProviderError and Postgres' errors: then do it again. `take` is Intake.take."""

    def __init__(
        self,
        pool: Pool,
        providers: Mapping[str, Provider],
        take: Callable[[str, ProviderEvent], Awaitable[Taken]],
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._providers = providers
        self._take = take
        self._clock = clock

    async def book(self, payment: PaymentRecord) -> PaymentRecord:
        """Take all that moved of a payment; the payment as it is then."""
        provider = self._providers.get(payment.provider)
        if provider is None or payment.provider_ref is None:
            raise ProviderUnavailableError(f"{payment.provider} cannot be asked about a payment")
        for event in await provider.movements(payment.provider_ref):
            taken = await self._take(payment.provider, event)
            if taken.outcome is TakenAs.APPLIED:
                _LOG.warning("callback_missing", payment=payment.id, told=event.type)
        found = await queries.find_payment(self._pool, payment.id)
        assert found is not None
        return found

    async def recall(self, payment_id: str) -> None:
        """The outbox' recall_payment: what the provider was asked to give back and told nothing of.

        Raises NotYetError while the provider has not paid that out.
        """
        payment = await queries.find_payment(self._pool, payment_id)
        if payment is None:
            return
        await self.book(payment)
        since_ms = await queries.refund_under_way(self._pool, payment_id)
        if since_ms is not None:
            waited_ms = milliseconds(self._clock()) - since_ms
            delay_ms = min(max(waited_ms, _AGAIN_MS_MIN), _AGAIN_MS_MAX)
            raise NotYetError("the provider has not paid a refund out yet", delay_ms)
