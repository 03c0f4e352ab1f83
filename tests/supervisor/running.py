"""`flashsale up` in a process of its own, so that it can be killed; buyers that never give up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.tokens import fast_issuer
from flashsale.demo.launch import Launch, LaunchError, announce
from flashsale.embedded.credentials import Credentials

PATIENCE_SECONDS = 60  # of a test that would otherwise hang; nothing is judged by it

PAUSE_SECONDS = 0.02  # between two buyers, so that a sale has a middle on any machine


def environment(**more: str) -> dict[str, str]:
    """Ours, without settings that somebody may have made; few connections do for any machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FLASHSALE_") or "BIN" in name
    }
    return kept | {"FLASHSALE_WEB__CONNECTIONS_MAX": "500"} | more


def flashsale(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "flashsale", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment(**variables),
    )


def is_running(pid: int) -> bool:
    """Whether a process lives: a zombie, which only init may reap, does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():
            await asyncio.sleep(0.05)


@dataclass
class Up:
    """One engine and its data folder, from start to start."""

    data_dir: Path
    port: int = 0
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def said(self) -> Path:
        """What it wrote on standard error, all starts together."""
        return self.data_dir.with_suffix(".stderr")

    @property
    def credentials(self) -> Credentials:
        return Credentials.load(self.data_dir)

    @property
    def pids(self) -> dict[str, int]:
        return dict(self.credentials.pids)

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.processes[-1]

    def start(self) -> str:
        """Start it and return its first line, which comes when it is ready."""
        with self.said.open("a") as said:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "flashsale", "up", "--web-processes", "2"),
                    *("--data-dir", str(self.data_dir), "--port", str(self.port)),
                ],
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        self.processes.append(process)
        line = process.stdout.readline()
        if not line:
            process.communicate()
        assert line, self.said.read_text()
        self.port = int(line.rpartition(":")[2])
        return line

    def stop(self, number: int) -> tuple[int, str]:
        """Signal it; its exit code and what else it printed."""
        self.process.send_signal(number)
        printed, _ = self.process.communicate()
        return self.process.returncode, printed

    async def kill_everything(self) -> None:
        """The supervisor and all it runs, at once, without a word."""
        pids = [self.process.pid, *self.pids.values()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        await until(lambda: not any(is_running(pid) for pid in pids))

    async def announce(self, units: int) -> Launch:
        """A sale that is open. Servers that were killed a moment ago are waited for."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    launch = await announce(
                        self.credentials,
                        name="Mi 3",
                        units=units,
                        opens_in_seconds=0.2,
                        lasts_seconds=600,
                        hold_seconds=600,
                    )
                except LaunchError as error:
                    if "recovering" not in str(error):
                        raise
                else:
                    await asyncio.sleep(max(launch.starts_at_ms / 1000 - time.time(), 0))
                    return launch


class Buyers:
    """Buyers of one launch over HTTP; they repeat with their key until they are answered."""

    def __init__(self, url: str, launch: Launch, session: aiohttp.ClientSession) -> None:
        self._url, self._launch, self._session = url, launch, session
        key = BuyerKey(launch.kid, launch.merchant_id, "HS256", launch.secret.encode())
        self._token = fast_issuer(key, now=time.time())
        self._count = 0
        #: The order that each winner was answered, and how many asked more than once.
        self.won: dict[str, str] = {}
        self.retried = 0

    async def order(self, buyer: str) -> tuple[int, dict[str, Any], bool]:
        """Ask until answered: the status, the body, and whether it was a repetition."""
        headers = self.headers(buyer) | {"Idempotency-Key": f"key of {buyer}"}
        path = f"{self._url}/v1/sales/{self._launch.sale}/orders"
        body = {"sku": self._launch.sku, "quantity": 1}
        for attempt in range(1, 1000):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.post(path, json=body, headers=headers) as response:
                    if response.status != 503:
                        replayed = "Idempotency-Replayed" in response.headers
                        self.retried += attempt > 1
                        return response.status, await response.json(content_type=None), replayed
            await asyncio.sleep(0.05)
        raise AssertionError(f"{buyer} was never answered")

    def headers(self, buyer: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token(buyer)}"}

    async def read(self, buyer: str, order: str) -> tuple[int, dict[str, Any]]:
        """An order as its buyer sees it."""
        path = f"{self._url}/v1/orders/{order}"
        async with self._session.get(path, headers=self.headers(buyer)) as response:
            return response.status, await response.json(content_type=None)

    async def buy_until_sold_out(self) -> None:
        """One buyer after the other, each new; several of these may run."""
        while True:
            self._count += 1
            buyer = f"buyer-{self._count}"
            status, body, _ = await self.order(buyer)
            if (status, body.get("code")) == (409, "sold_out"):
                return
            assert status == 201, (status, body)
            self.won[buyer] = body["id"]
            await asyncio.sleep(PAUSE_SECONDS)
