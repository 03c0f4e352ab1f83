"""One endpoint's deliveries: claim, send a few at a time, write down. Waits for no other endpoint.

How many are sent at once grows while all goes well and is halved by every failure, so an endpoint
that is down costs one connection. What is claimed is sent before its lease ends or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flashsale.settlement.queries import Pool
from flashsale.webhooks import queries
from flashsale.webhooks.backoff import next_attempt
from flashsale.webhooks.delivery_http import TIMEOUT_SECONDS, Reply, Sender
from flashsale.webhooks.signing import message_body, message_id, signed_headers
from flashsale.webhooks.values import Claim, DeliveryState, Endpoint, Outcome

LEASE_SECONDS = 60.0
#: How long an event waits before it is looked at again while an earlier one of its order is
#: pending; usually that one's end calls it up.
BLOCKED_SECONDS = 15.0
IN_FLIGHT_MAX = 64
_IN_FLIGHT_FIRST = 8
#: Claims are for so many rounds of sending, of which the last must begin within the lease.
_ROUNDS = 4
assert _ROUNDS * TIMEOUT_SECONDS < LEASE_SECONDS
STOP_SECONDS = 2.0
_WRITE_AGAIN_SECONDS = 0.5
GONE = 410


@dataclass(slots=True)
class Progress:
    """Totals since the start, for metrics; `lanes` are endpoints being sent to now."""

    lanes: int = 0
    attempts: int = 0
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    disabled: int = 0
    sold_out: int = 0
    swept: int = 0
    failures: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What a lane works with. `now` has a time zone; `chance` is a number from 0 to 1."""

    pool: Pool
    sender: Sender
    now: Callable[[], datetime]
    progress: Progress
    chance: Callable[[], float] = random.random
    in_flight_max: int = IN_FLIGHT_MAX
    stop_seconds: float = STOP_SECONDS


@dataclass(slots=True)
class _Ours:
    """A claim and the instant of the loop's clock at which its lease ends."""

    claim: Claim
    ends: float


@dataclass(slots=True)
class Lane:
    """The deliveries of one endpoint while there are any."""

    means: Means
    endpoint: Endpoint
    _ready: deque[_Ours] = field(default_factory=deque)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _outcomes: list[Outcome] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _window: int = 1
    _more: bool = True
    _stopping: bool = False

    def __post_init__(self) -> None:
        self._window = min(_IN_FLIGHT_FIRST, self.means.in_flight_max)

    def kick(self, endpoint: Endpoint) -> None:
        """Something is due, and this is how the endpoint stands now."""
        self.endpoint = endpoint
        self._more = True
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; what is under way may end within `stop_seconds`."""
        self._stopping = True
        self._give_back()
        asyncio.get_running_loop().call_later(self.means.stop_seconds, self._cancel)
        self._wake.set()

    def _cancel(self) -> None:
        for task in self._sending:
            task.cancel()

    async def run(self) -> None:
        """Send until nothing is due. Raises what Postgres raises when it stays away."""
        try:
            while True:
                self._wake.clear()
                if self._outcomes:
                    await self._write()
                if self._more and not self._stopping:
                    await self._claim()
                self._begin()
                if self._outcomes or (self._more and self._has_room()):
                    continue
                if not self._sending and not self._ready:
                    return
                await self._wake.wait()
        finally:
            self._cancel()
            if self._sending:
                await asyncio.wait(self._sending)

    def _has_room(self) -> bool:
        return not self._stopping and self._room() * 2 >= _ROUNDS * self._window

    def _room(self) -> int:
        return _ROUNDS * self._window - len(self._ready) - len(self._sending)

    async def _claim(self) -> None:
        if not self._has_room():
            return
        # Read before the claim: however slow the answer is, our lease ends before Postgres' does.
        ends = asyncio.get_running_loop().time() + LEASE_SECONDS - TIMEOUT_SECONDS
        now, self._more = self.means.now(), False
        claimed = await queries.claim(
            self.means.pool,
            self.endpoint.id,
            now,
            limit=self._room(),
            lease_until=now + timedelta(seconds=LEASE_SECONDS),
            blocked_until=now + timedelta(seconds=BLOCKED_SECONDS),
        )
        self._more = self._more or bool(claimed.claims or claimed.blocked)
        self._ready.extend(_Ours(claim, ends) for claim in claimed.claims)
        if self._stopping:
            self._give_back()

    def _begin(self) -> None:
        while self._ready and len(self._sending) < self._window:
            ours = self._ready.popleft()
            if asyncio.get_running_loop().time() >= ours.ends:
                self._outcomes.append(self._given_back(ours.claim))
                continue
            task = asyncio.ensure_future(self._send(ours.claim))
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._begin()
        self._wake.set()

    async def _send(self, claim: Claim) -> None:
        means, endpoint, begun = self.means, self.endpoint, asyncio.get_running_loop().time()
        now = means.now()
        body = message_body(claim.type, claim.at, claim.data)
        headers = signed_headers(
            endpoint.signing_secrets(now), message_id(claim.event_id), now, body
        )
        try:
            reply = await means.sender.post(endpoint.url, body.encode(), headers)
        except asyncio.CancelledError:
            self._outcomes.append(self._given_back(claim))
            return
        means.progress.attempts += 1
        took_ms = int((asyncio.get_running_loop().time() - begun) * 1000)
        self._outcomes.append(self._judged(claim, reply, took_ms))
        if reply.status == GONE:
            self._give_back()
            await self._disable()

    def _judged(self, claim: Claim, reply: Reply, took_ms: int) -> Outcome:
        """What a reply means for its delivery, and for how many are sent at once."""
        now, progress, again = self.means.now(), self.means.progress, None
        if reply.status is not None and 200 <= reply.status < 300:
            progress.delivered += 1
            state = DeliveryState.DELIVERED
            self._window = min(self._window + 1, self.means.in_flight_max)
        else:
            progress.failed += 1
            self._window = max(self._window // 2, 1)
            again = next_attempt(
                now,
                claim.attempt,
                claim.give_up_at,
                chance=self.means.chance(),
                retry_after_seconds=reply.retry_after_seconds,
            )
            gone = reply.status == GONE
            state = DeliveryState.DEAD if again is None or gone else DeliveryState.PENDING
            progress.dead += state is DeliveryState.DEAD
        return Outcome(
            claim.event_id,
            claim.fence,
            state,
            again or now,
            tried=True,
            at=now,
            status=reply.status,
            error=reply.error,
            took_ms=took_ms,
            answer=reply.answer,
        )

    def _give_back(self) -> None:
        self._outcomes += [self._given_back(each.claim) for each in self._ready]
        self._ready.clear()

    def _given_back(self, claim: Claim) -> Outcome:
        now = self.means.now()
        state = DeliveryState.PENDING
        return Outcome(claim.event_id, claim.fence, state, now, tried=False, at=now)

    async def _disable(self) -> None:
        note = "The endpoint answered 410 Gone."
        means = self.means
        with contextlib.suppress(Exception):  # the next 410 says so again
            means.progress.disabled += await queries.disable_endpoint(
                means.pool, self.endpoint.id, note, means.now()
            )

    async def _write(self) -> None:
        """Write outcomes down, as patiently as the leases last: then others send again."""
        outcomes, self._outcomes = self._outcomes, []
        ends = asyncio.get_running_loop().time() + LEASE_SECONDS
        while True:
            try:
                freed = await queries.finish(self.means.pool, self.endpoint.id, outcomes)
            except Exception:
                if self._stopping or asyncio.get_running_loop().time() >= ends:
                    raise
                await asyncio.sleep(_WRITE_AGAIN_SECONDS)
            else:
                self._more = self._more or freed > 0
                return
