"""What buyers and the merchant of a campaign do, over HTTP alone."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import aiohttp

from flashsale.access.tokens import BuyerKey, fast_issuer
from flashsale.embedded.credentials import Credentials

AT_ONCE = 48
TRIES_MAX = 30
REST_SECONDS = 0.2
CALL_SECONDS_MAX = 30.0
#: Answers that say "again in a moment".
PASSING = frozenset({"order_not_confirmed", "payment_in_progress", "order_closing", "busy"})
_Subject = TypeVar("_Subject")
_keys = itertools.count(1)


class CampaignError(Exception):
    """A call that should have worked did not; one line."""


class Desk:
    """Calls of one sale's buyers and of its merchant."""

    def __init__(
        self, session: aiohttp.ClientSession, credentials: Credentials, key: BuyerKey
    ) -> None:
        self._session = session
        self._base = credentials.base_url
        self._merchant = credentials.api_key
        self._issue = fast_issuer(key, now=time.time())
        self._run = f"{time.time_ns():x}"

    async def _call(
        self, method: str, path: str, bearer: str, body: Any = None, allowed: Iterable[str] = ()
    ) -> dict[str, Any]:
        """An answer's body; refusals in `allowed` too, told by their `code`."""
        headers = {
            "Authorization": f"Bearer {bearer}",
            "Idempotency-Key": f"{self._run}-{next(_keys)}",
        }
        allowed = frozenset(allowed)
        code = "no answer"
        for _ in range(TRIES_MAX):
            async with self._session.request(
                method, self._base + path, json=body, headers=headers
            ) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
                if response.ok:
                    return answer
                code = str(answer.get("code"))
            if code in allowed:
                return answer
            if code not in PASSING and response.status != 503:
                break
            await asyncio.sleep(REST_SECONDS)
        raise CampaignError(f"{method} {path} was answered {code} {answer.get('errors', '')}")

    async def merchant(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """A merchant's call; a command has a key of its own."""
        return await self._call(method, f"/v1/merchant{path}", self._merchant, body)

    async def deposit(self, sale: str, sku: str, buyer: str) -> tuple[str, str]:
        """Order a unit and pay its deposit; the order's id and its buyer."""
        token = self._issue(buyer)
        order = await self._call(
            "POST", f"/v1/sales/{sale}/orders", token, {"sku": sku, "quantity": 1}
        )
        await self.pay(order["id"], buyer)
        return order["id"], buyer

    async def pay(self, order: str, buyer: str, allowed: Iterable[str] = ()) -> bool:
        """Pay what is due, on the provider's page; False where a refusal was foreseen."""
        begun = await self._call(
            "POST", f"/v1/orders/{order}/payments", self._issue(buyer), None, allowed
        )
        if begun.get("checkout_url") is None:
            return False
        async with self._session.post(
            begun["checkout_url"], data={"action": "pay"}, allow_redirects=False
        ) as page:
            if page.status not in {303, 409}:
                raise CampaignError(f"the checkout was answered {page.status}")
        return page.status == 303

    async def cancel(self, order: str, buyer: str) -> bool:
        """Whether the order was let go."""
        foreseen = {"order_not_cancellable"}
        path = f"/v1/orders/{order}/cancel"
        answer = await self._call("POST", path, self._issue(buyer), None, foreseen)
        return "state" in answer

    async def change(self, order: str, buyer: str, sku: str) -> bool:
        """Whether the order has the SKU now."""
        foreseen = {"order_not_changeable", "sold_out"}
        path = f"/v1/orders/{order}/item"
        answer = await self._call("POST", path, self._issue(buyer), {"sku": sku}, foreseen)
        return "sku" in answer

    async def refund(self, order: str) -> bool:
        """Whether the merchant could give everything back."""
        path = f"/v1/merchant/orders/{order}/refunds"
        body = {"reason": "No unit is left for this order."}
        foreseen = {"order_not_refundable"}
        answer = await self._call("POST", path, self._merchant, body, foreseen)
        return "refunds" in answer


async def side_by_side(
    work: Callable[[_Subject], Awaitable[Any]], subjects: Iterable[_Subject]
) -> list[Any]:
    """Do `work` for each subject, a bounded number at once; what each came to, in order."""
    waiting = iter(list(subjects))
    results: list[tuple[int, Any]] = []
    numbers = itertools.count()

    async def take() -> None:
        for subject in waiting:
            number = next(numbers)
            results.append((number, await work(subject)))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(take())
    return [result for _, result in sorted(results, key=lambda each: each[0])]
