"""A sandbox over real HTTP, a real receiver of its callbacks, and a buyer."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from flashsale.payments.provider import Asked, Checkout, ProviderEvent
from flashsale.payments.providers.sandbox import SandboxProvider
from flashsale.sandbox.app import serving

KEY = "sandbox-test-key-0123456789abcdef"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
NEW_SECRET = "whsec_C2FVsBQIhrscChlQIMV0123456789abcdefghijklmnopq"
PATIENCE_SECONDS = 30  # of a test that would otherwise hang; nothing is judged by it


def asked(payment_id: str, amount: int = 149_900, **more: Any) -> Asked:
    """A payment to open, in time for an hour."""
    known = {"currency": "CNY", "description": "Mi 3 <1>", "save": False}
    known |= {"expires_at_ms": time.time_ns() // 1_000_000 + 3_600_000}
    return Asked(payment_id, f"order-of-{payment_id}", amount, **(known | more))


@dataclass
class Receiver:
    """Where callbacks arrive. `refuse` is how many it does not take first."""

    url: str = ""
    refuse: int = 0
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    refused: int = 0
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self.arrived:
            if self.refuse > 0:
                self.refuse -= 1
                self.refused += 1
                self.arrived.notify_all()
                return web.Response(status=503)
            self.taken.append((dict(request.headers), body))
            self.arrived.notify_all()
        return web.Response(status=200)

    async def wait(self, count: int) -> None:
        """Until so many callbacks were taken."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.arrived:
            await self.arrived.wait_for(lambda: len(self.taken) >= count)


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/callbacks", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class House:
    """A sandbox, its client, and who receives its callbacks."""

    url: str
    provider: SandboxProvider
    receiver: Receiver
    browser: aiohttp.ClientSession

    async def press(self, checkout: Checkout, button: str) -> int:
        """Press a button of the page; the status, before any redirect."""
        assert checkout.url is not None
        async with self.browser.post(
            checkout.url, data={"action": button}, allow_redirects=False
        ) as response:
            return response.status

    async def page(self, checkout: Checkout) -> str:
        assert checkout.url is not None
        async with self.browser.get(checkout.url) as response:
            assert response.status == 200
            return await response.text()

    async def call(self, method: str, path: str, body: Any = None, key: str = KEY) -> Any:
        """A call of the API: the status and what was answered."""
        headers = {"Authorization": f"Bearer {key}"}
        async with self.browser.request(
            method, self.url + path, json=body, headers=headers
        ) as response:
            return response.status, await response.json()

    async def switch(self, **switches: Any) -> None:
        status, _ = await self.call("PUT", "/v1/switches", switches)
        assert status == 200

    def told(self) -> list[ProviderEvent]:
        """What was told so far, verified."""
        return [
            self.provider.verify(headers, body, time.time())
            for headers, body in self.receiver.taken
        ]

    async def tell(self, count: int) -> list[ProviderEvent]:
        """What was told once `count` callbacks were taken."""
        await self.receiver.wait(count)
        return self.told()


@contextlib.asynccontextmanager
async def open_house(
    file: Path, *, secrets: tuple[str, ...] = (SECRET,), trusts: tuple[str, ...] = (SECRET,)
) -> AsyncIterator[House]:
    """Everything on one event loop, over real sockets."""
    async with (
        receiving() as receiver,
        serving(
            file,
            host="127.0.0.1",
            port=0,
            key=KEY,
            secrets=secrets,
            callback_url=receiver.url,
        ) as (host, port),
        aiohttp.ClientSession() as browser,
    ):
        url = f"http://{host}:{port}"
        async with contextlib.AsyncExitStack() as stack:
            provider = SandboxProvider(url, api_key=KEY, webhook_secrets=trusts)
            stack.push_async_callback(provider.close)
            yield House(url, provider, receiver, browser)
