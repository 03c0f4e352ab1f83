"""A sandbox that is killed has forgotten nothing that it said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

import aiohttp

from flashsale.payments.provider import MoneyKind, ProviderUnavailableError
from flashsale.payments.providers.sandbox import SandboxProvider
from tests.sandbox.house import KEY, SECRET, House, asked, receiving
from tests.supervisor.running import environment, flashsale

SECRETS = {"FLASHSALE_SANDBOX_API_KEY": KEY, "FLASHSALE_SANDBOX_WEBHOOK_SECRETS": SECRET}


class Killable:
    """`flashsale sandbox` in a process of its own."""

    def __init__(self, folder, callback_url: str) -> None:
        self._folder, self._callback_url = folder, callback_url
        self.port = 0

    async def start(self) -> str:
        log = self._folder / "log"
        log.touch()
        begin = log.stat().st_size
        arguments = ("--port", str(self.port), "--callback-url", self._callback_url)
        storage = ("--storage", str(self._folder / "sandbox.db"))
        with log.open("a") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flashsale", "sandbox", *arguments, *storage],
                env=environment(**SECRETS),
                stderr=said,
            )
        while not (line := log.read_text()[begin:]).endswith("\n"):
            assert self.process.poll() is None
            await asyncio.sleep(0.02)
        self.port = json.loads(line)["port"]
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


async def test_a_killed_sandbox_loses_no_payment_and_no_callback(tmp_path):
    async with receiving() as receiver, aiohttp.ClientSession() as browser:
        sandbox = Killable(tmp_path, receiver.url)
        url = await sandbox.start()
        provider = SandboxProvider(url, api_key=KEY, webhook_secrets=(SECRET,))
        house = House(url, provider, receiver, browser)
        try:
            receiver.refuse = 1_000_000
            await house.switch(duplicate=1)
            checkouts = [await provider.open(asked(f"pay-{n}")) for n in range(20)]
            statuses = await asyncio.gather(*(house.press(each, "pay") for each in checkouts))
            assert statuses == [303] * 20

            # In the middle of opening: what was answered is kept, what was not may be repeated.
            async def keep_opening(known: dict[str, str]) -> None:
                with contextlib.suppress(ProviderUnavailableError):
                    for number in range(1000):
                        asking = asked(f"more-{number}")
                        known[asking.payment_id] = (await provider.open(asking)).ref

            known: dict[str, str] = {}
            opening = asyncio.create_task(keep_opening(known))
            while len(known) < 20:
                await asyncio.sleep(0.005)
            sandbox.kill()
            await opening
            receiver.refuse = 0
            await sandbox.start()
            told = await house.tell(40)
            assert {each.payment_id for each in told} == {f"pay-{n}" for n in range(20)}
            assert {each.kind for each in told} == {MoneyKind.CAPTURED}
            for ref in known.values():
                status, shown = await house.call("GET", f"/v1/payments/{ref}")
                assert (status, shown["state"]) == (200, "open")
            assert (await provider.open(asked("more-0"))).ref == known["more-0"]
            assert (await house.call("GET", "/v1/switches"))[1]["duplicate"] == 1
        finally:
            await provider.close()
            sandbox.kill()


def test_it_is_for_this_machine_and_for_trying_out_only(tmp_path):
    storage = ("--storage", str(tmp_path / "sandbox.db"))
    for arguments, variables, says in (
        ((), {}, "Set FLASHSALE_SANDBOX_API_KEY"),
        (("--host", "0.0.0.0"), SECRETS, "is not loopback"),
        ((), SECRETS | {"FLASHSALE_MODE": "production"}, "does not run in production mode"),
        ((), SECRETS | {"FLASHSALE_SANDBOX_API_KEY": "short"}, "is short or guessable"),
    ):
        refused = flashsale("sandbox", *arguments, *storage, "--port", "0", **variables)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert says in refused.stderr
        assert refused.stderr.count("\n") == 1
