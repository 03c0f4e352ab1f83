"""A merchant's webhooks: made, listed, rotated, tried, replayed. Sends nothing itself.

A secret is answered where it is made and never again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from flashsale.access.names import new_id
from flashsale.sales.errors import FieldError, ValidationFailedError
from flashsale.settlement.queries import Pool
from flashsale.webhooks import queries
from flashsale.webhooks.addresses import Lookup, check_url, checked_lookup, system_lookup
from flashsale.webhooks.errors import (
    AddressRefusedError,
    DeliveryPendingError,
    UnknownDeliveryError,
    UnknownWebhookError,
    WebhookDisabledError,
    WebhookLimitError,
)
from flashsale.webhooks.signing import event_number, new_secret
from flashsale.webhooks.values import Delivery, DeliveryState, Endpoint, EndpointState

ENDPOINTS_MAX = 10
#: How long the secret before the newest one goes on signing.
OVERLAP = timedelta(hours=24)
#: Dead deliveries that one replay sends again; the next call takes the rest.
REPLAY_MAX = 10_000


class WebhookService:
    """What a merchant does with endpoints. `allow_private` is for development machines only.

    Every method raises asyncpg's errors where Postgres is away, and UnknownWebhookError where the
    merchant has no such endpoint.
    """

    def __init__(
        self,
        pool: Pool,
        now: Callable[[], datetime],
        *,
        allow_private: bool = False,
        endpoints_max: int = ENDPOINTS_MAX,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._pool = pool
        self._now = now
        self._allow_private = allow_private
        self._endpoints_max = endpoints_max
        self._lookup = lookup

    async def create(self, merchant_id: str, url: str, types: Sequence[str]) -> Endpoint:
        """Make an endpoint; no `types` means every type.

        Raises ValidationFailedError for an address that is never sent to, WebhookLimitError.
        """
        await self._check(url)
        endpoint = Endpoint(
            id=new_id("whk"),
            merchant_id=merchant_id,
            url=url,
            secrets=(new_secret(),),
            previous_until=None,
            types=tuple(dict.fromkeys(types)),
            state=EndpointState.ACTIVE,
            note=None,
            created_at=self._now(),
        )
        if not await queries.insert_endpoint(self._pool, endpoint, self._endpoints_max):
            raise WebhookLimitError
        return endpoint

    async def _check(self, url: str) -> None:
        try:
            host = check_url(url, allow_private=self._allow_private)
            await checked_lookup(host, self._lookup, allow_private=self._allow_private)
        except AddressRefusedError as error:
            raise ValidationFailedError([FieldError("/url", str(error))]) from error
        except (OSError, UnicodeError) as error:
            raise ValidationFailedError([FieldError("/url", "The host is not known.")]) from error

    async def page(self, merchant_id: str, after: str | None, limit: int) -> list[Endpoint]:
        """Up to `limit` endpoints, oldest first, behind the one with id `after`."""
        return await queries.list_endpoints(self._pool, merchant_id, after, limit)

    async def read(self, merchant_id: str, endpoint_id: str) -> Endpoint:
        """One endpoint."""
        endpoint = await queries.find_endpoint(self._pool, merchant_id, endpoint_id)
        if endpoint is None:
            raise UnknownWebhookError
        return endpoint

    async def delete(self, merchant_id: str, endpoint_id: str) -> None:
        """Send nothing there from now on, not even what is pending."""
        if not await queries.delete_endpoint(self._pool, merchant_id, endpoint_id, self._now()):
            raise UnknownWebhookError

    async def enable(self, merchant_id: str, endpoint_id: str) -> Endpoint:
        """Send to a disabled endpoint again, beginning with what waited."""
        if not await queries.enable_endpoint(self._pool, merchant_id, endpoint_id):
            raise UnknownWebhookError
        return await self.read(merchant_id, endpoint_id)

    async def rotate(self, merchant_id: str, endpoint_id: str) -> Endpoint:
        """Make a new secret; the one before it signs beside it for OVERLAP."""
        until = self._now() + OVERLAP
        if not await queries.rotate_secret(
            self._pool, merchant_id, endpoint_id, new_secret(), until
        ):
            raise UnknownWebhookError
        return await self.read(merchant_id, endpoint_id)

    async def test(self, merchant_id: str, endpoint_id: str) -> Delivery:
        """Send an event of type `webhook.test`; WebhookDisabledError where nothing is sent."""
        endpoint = await self.read(merchant_id, endpoint_id)
        if endpoint.state is not EndpointState.ACTIVE:
            raise WebhookDisabledError
        data = {"webhook_id": endpoint.id}
        event = await queries.insert_test(self._pool, endpoint, data, self._now())
        return await self._delivery(endpoint.id, event)

    async def deliveries(
        self,
        merchant_id: str,
        endpoint_id: str,
        state: DeliveryState | None,
        before: int | None,
        limit: int,
    ) -> list[Delivery]:
        """Up to `limit` deliveries, newest first, of events numbered below `before`."""
        endpoint = await self.read(merchant_id, endpoint_id)
        last = queries.NUMBER_MAX if before is None else before
        return await queries.deliveries(self._pool, endpoint.id, state, before=last, limit=limit)

    async def replay(self, merchant_id: str, endpoint_id: str, delivery_id: str) -> Delivery:
        """Send a delivery that is done once more.

        Raises UnknownDeliveryError, or DeliveryPendingError where it is still being tried.
        """
        endpoint = await self.read(merchant_id, endpoint_id)
        event = event_number(delivery_id)
        if event is None:
            raise UnknownDeliveryError
        replayed = await queries.replay_delivery(self._pool, endpoint.id, event, self._now())
        delivery = await self._delivery(endpoint.id, event)
        if not replayed:
            raise DeliveryPendingError
        return delivery

    async def replay_dead(self, merchant_id: str, endpoint_id: str, since: datetime) -> int:
        """Send dead deliveries of events since an instant once more; how many, up to REPLAY_MAX."""
        endpoint = await self.read(merchant_id, endpoint_id)
        return await queries.replay_dead(self._pool, endpoint.id, since, self._now(), REPLAY_MAX)

    async def _delivery(self, endpoint_id: str, event: int) -> Delivery:
        found = await queries.deliveries(self._pool, endpoint_id, None, before=event + 1, limit=1)
        if not found or found[0].event_id != event:
            raise UnknownDeliveryError
        return found[0]
