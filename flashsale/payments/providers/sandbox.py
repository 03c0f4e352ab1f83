"""The client of the sandbox, our own provider for trying things out. Decides nothing."""

from __future__ import annotations

import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from standardwebhooks import Webhook

from flashsale.payments.provider import (
    STAMP_SECONDS_MAX,
    Asked,
    Checkout,
    MalformedError,
    MoneyKind,
    ProviderEvent,
    ProviderRefusedError,
    ProviderUnavailableError,
    SignatureError,
    StampError,
    StatementLine,
)

NAME = "sandbox"
#: Where the engine takes the sandbox' callbacks.
CALLBACK_PATH = "/v1/providers/sandbox/webhooks"
PAGE_LINES = 500
_KINDS = {
    "payment.captured": MoneyKind.CAPTURED,
    "payment.declined": MoneyKind.DECLINED,
    "payment.expired": MoneyKind.EXPIRED,
    "payment.refunded": MoneyKind.REFUNDED,
    "payment.refund_failed": MoneyKind.REFUND_FAILED,
}
_UNREADABLE = "The callback is not what the sandbox sends."
_STAMP = re.compile(r"[0-9]{1,11}")


class SandboxProvider:
    """A sandbox at `url`, called with `api_key`; callbacks signed with one of `webhook_secrets`.

    Must be made where an event loop runs, and closed there. Nothing is repeated by itself: every
    call carries a key of ours, with which whoever called may repeat it.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        webhook_secrets: tuple[str, ...],
        timeout_ms: int = 5000,
        connections_max: int = 32,
    ) -> None:
        self._url = url.rstrip("/")
        self._signers = [Webhook(secret) for secret in webhook_secrets]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=timeout_ms / 1000),
            headers={"Authorization": f"Bearer {api_key}"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @property
    def name(self) -> str:
        """As the ledger names it."""
        return NAME

    async def open(self, asked: Asked) -> Checkout:
        """Open a payment, once for each payment id."""
        return self._checkout(await self._call("POST", "/v1/payments", asked._asdict()))

    async def charge(self, asked: Asked, saved_ref: str) -> Checkout:
        """Charge whoever paid `saved_ref`, once for each payment id."""
        body = {**asked._asdict(), "saved_ref": saved_ref}
        return Checkout((await self._call("POST", "/v1/charges", body))["ref"], None)

    async def expire(self, ref: str) -> None:
        """Close a payment; ProviderRefusedError where it was paid."""
        await self._call("POST", f"/v1/payments/{quote(ref, safe='')}/expire")

    async def refund(self, refund_id: str, ref: str, amount: int) -> str:
        """Give back part of a payment, once for each refund id."""
        body = {"refund_id": refund_id, "ref": ref, "amount": amount}
        return str((await self._call("POST", "/v1/refunds", body))["ref"])

    async def movements(self, ref: str) -> Sequence[ProviderEvent]:
        """The captures and refunds of a payment: the very events of its callbacks."""
        answer = await self._call("GET", f"/v1/payments/{quote(ref, safe='')}/movements")
        return [_event(content) for content in answer["items"]]

    async def statement(self, after: str | None) -> AsyncIterator[StatementLine]:
        """Captures and refunds behind an event of the sandbox, oldest first."""
        while True:
            query = f"&after={quote(after, safe='')}" if after is not None else ""
            page = await self._call("GET", f"/v1/statement?limit={PAGE_LINES}{query}")
            for line in page["items"]:
                after = line["id"]
                yield StatementLine(
                    event_id=line["id"],
                    kind=_KINDS[line["type"]],
                    payment_id=line["payment_id"],
                    refund_id=line["refund_id"],
                    amount=line["amount"],
                    currency=line["currency"],
                    fee=line["fee"],
                    occurred_at_ms=line["occurred_at_ms"],
                )
            if len(page["items"]) < PAGE_LINES:
                return

    def verify(self, headers: Mapping[str, str], body: bytes, now: float) -> ProviderEvent:
        """Check a callback as Standard Webhooks says, and read it. CallbackError.

        The signature is looked at first: only what the sandbox signed is told more.
        """
        given = {name.lower(): value for name, value in headers.items()}
        event_id = given.get("webhook-id", "")
        stamp = given.get("webhook-timestamp", "")
        signed = given.get("webhook-signature", "")
        # Bytes that are no UTF-8 come as surrogates, which cannot be signed or compared.
        if not event_id or not _STAMP.fullmatch(stamp) or not (event_id + signed).isascii():
            raise SignatureError("The callback is not signed.")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise SignatureError("The callback's body is not what was signed.") from None
        if not self._is_signed(signed.split(), event_id, int(stamp), text):
            raise SignatureError("The callback's signature does not fit.")
        if abs(now - int(stamp)) > STAMP_SECONDS_MAX:
            raise StampError("The callback's stamp is too far from now.")
        try:
            event = _event(orjson.loads(text))
        except orjson.JSONDecodeError:
            raise MalformedError(_UNREADABLE) from None
        if event.id != event_id:
            raise MalformedError(_UNREADABLE)
        return event

    def _is_signed(self, signatures: list[str], event_id: str, stamp: int, text: str) -> bool:
        # The library's own check reads the system's clock; its signing does not.
        when = datetime.fromtimestamp(stamp, UTC)
        expected = [each.sign(event_id, when, text).encode() for each in self._signers]
        return any(
            hmac.compare_digest(ours, theirs.encode())
            for ours in expected
            for theirs in signatures[:8]
        )

    async def close(self) -> None:
        """Close connections."""
        await self._session.close()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method, self._url + path, data=data, allow_redirects=False
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ProviderUnavailableError(f"sandbox: {type(error).__name__}") from None
        if response.status in {408, 429} or response.status >= 500:
            raise ProviderUnavailableError(f"sandbox: HTTP {response.status}")
        try:
            answer = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise ProviderUnavailableError("sandbox: the answer is no JSON") from None
        if response.status >= 400:
            raise ProviderRefusedError(f"sandbox: {answer['code']} (HTTP {response.status})")
        return answer

    def _checkout(self, answer: Mapping[str, Any]) -> Checkout:
        return Checkout(answer["ref"], self._url + answer["path"])


def _event(content: Any) -> ProviderEvent:
    try:
        kind, data = content["type"], content["data"]
        event = ProviderEvent(
            id=content["id"],
            kind=_KINDS.get(kind, MoneyKind.OTHER),
            type=kind,
            payment_id=data.get("payment_id"),
            refund_id=data.get("refund_id"),
            ref=data.get("ref"),
            amount=data.get("amount", 0),
            currency=data.get("currency", ""),
            fee=data.get("fee", 0),
            occurred_at_ms=data["occurred_at_ms"],
            payload=content,
        )
    except (LookupError, TypeError, AttributeError):
        raise MalformedError(_UNREADABLE) from None
    numbers = (event.amount, event.fee, event.occurred_at_ms)
    texts = (event.payment_id, event.refund_id, event.ref)
    if (
        not all(type(each) is int and 0 <= each < 1 << 63 for each in numbers)
        or not all(each is None or isinstance(each, str) for each in texts)
        or not isinstance(event.id, str)
        or not isinstance(event.type, str)
        or not isinstance(event.currency, str)
    ):
        raise MalformedError(_UNREADABLE)
    return event
