"""The providers behind one face, so that one suite holds both to the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import stripe
from aiohttp import web
from standardwebhooks import Webhook

from flashsale.payments.provider import Checkout, Provider, ProviderEvent
from flashsale.payments.providers.stripe import StripeProvider
from tests.sandbox.house import (
    PATIENCE_SECONDS,
    SECRET,
    House,
    Receiver,
    open_house,
    receiving,
)

CARD_GOOD, CARD_DECLINED = "4242424242424242", "4000000000000341"
API_KEY = "sk_test_0123456789abcdef0123456789abcdef"
PAGE = "https://shop.example/pay#{client_secret}"
#: Signs a body: the headers of a callback, by (body, stamp, secret).
Signer = Callable[[bytes, int, str], dict[str, str]]


class Desk(Protocol):
    """A provider, its buyers, and what it told."""

    provider: Provider
    receiver: Receiver
    secret: str
    sign: Signer

    async def pay(self, checkout: Checkout) -> None: ...

    async def decline(self, checkout: Checkout) -> None: ...

    def other(self, *secrets: str) -> Provider: ...


async def told(desk: Desk, payment_id: str) -> ProviderEvent:
    """The callback about a payment, once it has come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for headers, body in list(desk.receiver.taken):
                event = desk.provider.verify(headers, body, time.time())
                if event.payment_id == payment_id:
                    return event
            await asyncio.sleep(0.02)


class SandboxDesk:
    """The sandbox."""

    secret = SECRET

    def __init__(self, house: House) -> None:
        self._house = house
        self.provider: Provider = house.provider
        self.receiver = house.receiver

    async def pay(self, checkout: Checkout) -> None:
        assert await self._house.press(checkout, "pay") == 303

    async def decline(self, checkout: Checkout) -> None:
        assert await self._house.press(checkout, "decline") == 303

    def other(self, *secrets: str) -> Provider:
        return type(self._house.provider)(self._house.url, api_key="x", webhook_secrets=secrets)

    @staticmethod
    def sign(body: bytes, stamp: int, secret: str) -> dict[str, str]:
        when = datetime.fromtimestamp(stamp, UTC)
        signature = Webhook(secret).sign("evt_1", when, body.decode())
        return {
            "webhook-id": "evt_1",
            "webhook-timestamp": str(stamp),
            "webhook-signature": signature,
        }


class StripeDesk:
    """Stripe's library against localstripe, which runs as a process of its own."""

    secret = "whsec_0123456789abcdef0123456789abcdef"

    def __init__(self, url: str, receiver: Receiver, browser: aiohttp.ClientSession) -> None:
        self._url, self._browser = url, browser
        self.receiver = receiver
        self._made = [self.other(self.secret)]
        self.provider: Provider = self._made[0]

    def other(self, *secrets: str) -> StripeProvider:
        return StripeProvider(API_KEY, webhook_secrets=secrets, checkout_url=PAGE, url=self._url)

    async def call(self, path: str, **form: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with self._browser.post(self._url + path, data=form, headers=headers) as answer:
            return await answer.json()

    async def _confirm(self, checkout: Checkout, number: str) -> None:
        """What Stripe's form does in the buyer's browser."""
        card = {"number": number, "exp_month": "12", "exp_year": "2040", "cvc": "123"}
        method = await self.call(
            "/v1/payment_methods", type="card", **{f"card[{k}]": v for k, v in card.items()}
        )
        intent = await self.call(f"/v1/payment_intents/{checkout.ref}", payment_method=method["id"])
        if intent["customer"] is not None:
            await self.call(
                f"/v1/payment_methods/{method['id']}/attach", customer=intent["customer"]
            )
        await self.call(f"/v1/payment_intents/{checkout.ref}/confirm")

    async def pay(self, checkout: Checkout) -> None:
        await self._confirm(checkout, CARD_GOOD)

    async def decline(self, checkout: Checkout) -> None:
        await self._confirm(checkout, CARD_DECLINED)

    @staticmethod
    def sign(body: bytes, stamp: int, secret: str) -> dict[str, str]:
        header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, stamp)
        return {"Stripe-Signature": header}


@contextlib.contextmanager
def localstripe(log: Path) -> Iterator[str]:
    """localstripe as a process: it is a stand-in of Stripe's under the GPL, and never imported."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"],
            cwd=log.parent,
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def remembering(url: str, session: aiohttp.ClientSession) -> AsyncIterator[str]:
    """A door before localstripe that knows `Idempotency-Key`, as Stripe does and it does not."""
    answers: dict[str, tuple[int, bytes]] = {}

    async def forward(request: web.Request) -> web.Response:
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key is not None and key in answers:
            status, body = answers[key]
        else:
            async with session.request(
                request.method,
                url + request.path_qs,
                data=await request.read(),
                headers={
                    name: value
                    for name, value in request.headers.items()
                    if name in {"Authorization", "Content-Type"}
                },
            ) as answer:
                status, body = answer.status, await answer.read()
            if key is not None:
                answers[key] = status, body
        return web.Response(status=status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def stripe_desk(url: str) -> AsyncIterator[StripeDesk]:
    async with (
        receiving() as receiver,
        aiohttp.ClientSession() as browser,
        remembering(url, browser) as door,
    ):
        desk = StripeDesk(door, receiver, browser)
        async with browser.post(
            f"{url}/_config/webhooks/tests",
            json={"url": receiver.url, "secret": desk.secret},
        ) as answer:
            assert answer.status == 200
        try:
            yield desk
        finally:
            await desk.provider.close()


@contextlib.asynccontextmanager
async def sandbox_desk(folder: Path) -> AsyncIterator[SandboxDesk]:
    async with open_house(folder / "sandbox.db") as house:
        yield SandboxDesk(house)
