"""An order is paid through the engine's own processes, whichever of them is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
from pathlib import Path

import aiohttp
import pytest

from flashsale.embedded import play_money
from tests.supervisor.running import PATIENCE_SECONDS, Buyers, is_running, until


async def state_becomes(buyers: Buyers, buyer: str, order: str, state: str) -> dict:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(aiohttp.ClientError):  # killed in the middle of an answer
                status, read = await buyers.read(buyer, order)
                if (status, read.get("state")) == (200, state):
                    return read
            await asyncio.sleep(0.05)


async def begun(up, session, buyers: Buyers, buyer: str) -> tuple[str, dict]:
    """An order and its payment. While a process is away, the buyer asks again."""
    status, order, _ = await buyers.order(buyer)
    assert status == 201
    url = f"{up.credentials.base_url}/v1/orders/{order['id']}/payments"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with session.post(url, headers=buyers.headers(buyer)) as response:
                answer = await response.json(content_type=None)
                if response.status in {200, 201}:
                    return order["id"], answer
                assert response.status in {409, 503}, answer
            await asyncio.sleep(0.05)


async def press_pay(session, payment: dict) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                async with session.post(
                    payment["checkout_url"], data={"action": "pay"}, allow_redirects=False
                ) as response:
                    assert response.status in {303, 409}, await response.text()
                    return
            except OSError:  # killed a moment ago, and back in another
                await asyncio.sleep(0.05)


async def test_an_order_is_paid_at_the_sandbox_beside_the_engine(up, session):
    buyers = Buyers(up.credentials.base_url, await up.announce(5), session)
    order, payment = await begun(up, session, buyers, "alice")
    assert payment["checkout_url"].startswith(up.credentials.sandbox_url + "/checkout/")
    await state_becomes(buyers, "alice", order, "paying")
    await press_pay(session, payment)
    paid = await state_becomes(buyers, "alice", order, "paid")
    assert paid["amount_due"]["amount"] == 0


@pytest.mark.parametrize("name", ["sandbox", "dispatch", "web"])
async def test_a_payment_outlives_whichever_process_is_killed(up, session, name):
    buyers = Buyers(up.credentials.base_url, await up.announce(5), session)
    order, payment = await begun(up, session, buyers, "alice")
    killed = up.pids[name]
    os.kill(killed, signal.SIGKILL)
    await press_pay(session, payment)
    await state_becomes(buyers, "alice", order, "paid")
    await until(lambda: up.pids[name] != killed and is_running(up.pids[name]))


async def test_its_secrets_stay_in_the_folder(up):
    place = play_money.load(up.data_dir)
    assert place is not None
    assert up.credentials.sandbox_url == place.url
    file = up.data_dir / "sandbox" / "secrets.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((up.data_dir / "sandbox" / "sandbox.db").stat().st_mode) == 0o600
    told = [*(up.data_dir / "logs").iterdir(), up.said, up.data_dir / "credentials.json"]
    for secret in (place.api_key, place.webhook_secret):
        assert not [path for path in told if secret in path.read_text(errors="replace")]
        for pid in up.pids.values():
            assert secret.encode() not in (await asyncio.to_thread(_command_line, pid))


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_pages_that_were_given_out_stay_where_they_were(up, session):
    buyers = Buyers(up.credentials.base_url, await up.announce(5), session)
    order, payment = await begun(up, session, buyers, "alice")
    known = play_money.load(up.data_dir)
    assert up.stop(signal.SIGTERM)[0] == 0
    await asyncio.to_thread(up.start)
    assert play_money.load(up.data_dir) == known
    await press_pay(session, payment)
    await state_becomes(buyers, "alice", order, "paid")
