"""Takes callbacks to whoever wants them, until they are taken. Never forgets one."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from standardwebhooks import Webhook

from flashsale.sandbox.values import Event, Switches, share

CONCURRENCY_MAX = 64
ANSWER_SECONDS_MAX = 10.0
RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 10.0
#: How long a callback that is to be overtaken waits for another one.
OVERTAKEN_SECONDS_MAX = 0.5
USER_AGENT = "Flashsale-Sandbox/1"


@dataclass(slots=True)
class Callback:
    """One callback on its way, to be sent `left` more times."""

    event: Event
    body: bytes
    left: int
    switches: Switches
    attempts: int = 0
    #: A callback that leaves once this one has been tried.
    behind: Callback | None = None


class Courier:
    """Sends callbacks to one address, signed with every secret in use (the first is the newest).

    At least once each, and again with growing pauses until the answer is 2xx. `delivered` is told
    of each that was taken; what it was not told of has to be handed in again after a restart.
    """

    def __init__(
        self, url: str, secrets: tuple[str, ...], delivered: Callable[[Event], Awaitable[None]]
    ) -> None:
        assert secrets, "callbacks are signed"
        self._url = url
        self._signers = [Webhook(secret) for secret in secrets]
        self._delivered = delivered
        self._due: list[tuple[float, int, Callback]] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(CONCURRENCY_MAX)
        self._sending: set[asyncio.Task[None]] = set()
        self._overtaken: Callback | None = None
        self._clock = asyncio.get_running_loop().time

    def take(self, event: Event, switches: Switches, left: int) -> None:
        """Send a callback `left` times, as the switches that hold for it say."""
        callback = Callback(event, event.body(), left, switches)
        pause_seconds = switches.delay_ms / 1000
        if not switches.reorder:
            self._put(callback, pause_seconds)
            return
        if (before := self._overtaken) is None:
            self._overtaken = callback
            self._put(callback, pause_seconds + OVERTAKEN_SECONDS_MAX)
            return
        self._overtaken = None
        self._due = [each for each in self._due if each[2] is not before]
        heapq.heapify(self._due)
        callback.behind = before
        self._put(callback, pause_seconds)

    def _put(self, callback: Callback, pause_seconds: float) -> None:
        heapq.heappush(self._due, (self._clock() + pause_seconds, next(self._numbers), callback))
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, for ever; what is being sent when this is cancelled is given up."""
        connector = aiohttp.TCPConnector(limit=CONCURRENCY_MAX, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            headers={"User-Agent": USER_AGENT},
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            try:
                while True:
                    await self._slots.acquire()
                    callback = await self._next()
                    sending = asyncio.create_task(self._carry(session, callback))
                    self._sending.add(sending)
                    sending.add_done_callback(self._sending.discard)
            finally:
                for sending in list(self._sending):
                    sending.cancel()
                await asyncio.gather(*self._sending, return_exceptions=True)

    async def _next(self) -> Callback:
        while True:
            self._wake.clear()
            pause_seconds = None
            if self._due:
                pause_seconds = self._due[0][0] - self._clock()
                if pause_seconds <= 0:
                    callback = heapq.heappop(self._due)[2]
                    if callback is self._overtaken:
                        self._overtaken = None  # nothing came that could overtake it
                    return callback
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._wake.wait()

    async def _carry(self, session: aiohttp.ClientSession, callback: Callback) -> None:
        try:
            callback.attempts += 1
            taken = await self._send(session, callback)
            if callback.behind is not None:
                self._put(callback.behind, 0)
                callback.behind = None
            if taken:
                await self._delivered(callback.event)
                callback.left -= 1
                callback.attempts = 1  # what is dropped is dropped once
                if callback.left > 0:
                    self._put(callback, 0)
            else:
                doubled = RETRY_SECONDS_MIN * 2 ** min(callback.attempts - 1, 20)
                self._put(callback, min(doubled, RETRY_SECONDS_MAX))
        finally:
            self._slots.release()

    async def _send(self, session: aiohttp.ClientSession, callback: Callback) -> bool:
        """One attempt; whether it was taken."""
        if callback.attempts == 1 and share(callback.event.id, "drop") < callback.switches.drop:
            return False
        try:
            async with session.post(
                self._url, data=callback.body, headers=self._headers(callback)
            ) as response:
                await response.read()
                return 200 <= response.status < 300
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _headers(self, callback: Callback) -> dict[str, str]:
        stamp = datetime.fromtimestamp(int(time.time()), UTC)
        body = callback.body.decode()
        signed = [each.sign(callback.event.id, stamp, body) for each in self._signers]
        return {
            "Content-Type": "application/json",
            "webhook-id": callback.event.id,
            "webhook-timestamp": str(int(stamp.timestamp())),
            "webhook-signature": " ".join(signed),
            "sandbox-attempt": str(callback.attempts),
        }
