"""The buyer keys as this process knows them. Reads them when told to, and never on the hot path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.tokens import Buyer, TokenRefusal, TokenVerifier

RELOAD_INTERVAL_SECONDS = 1.0


class Keyring:
    """A snapshot of all buyer keys, replaced as a whole.

    `load` reads them all, oldest first (`queries.load_buyer_keys`); what it raises is raised to
    whoever waits for the reload, and the last snapshot keeps serving. The owner calls `refresh`
    once at start and then every few seconds.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Mapping[str, BuyerKey]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.verifier = TokenVerifier({})
        self._load = load
        self._clock = clock
        self._keys: dict[str, BuyerKey] = {}
        self._loading = asyncio.Lock()
        self._reload: asyncio.Task[None] | None = None
        self._reload_started = 0.0

    async def refresh(self) -> None:
        """Read all keys; where none changed, the verifier stays, and with it its header cache."""
        # One load at a time: of two, the older answer could come last and undo a retirement.
        async with self._loading:
            keys = dict(await self._load())
            # Order matters as well: without a kid, the newest key serves.
            if list(keys.items()) != list(self._keys.items()):
                self._keys, self.verifier = keys, TokenVerifier(keys)

    async def refresh_if_unknown(self) -> None:
        """Reload because a token named an unknown key, at most once a second for all callers.

        Whoever comes sooner shares the last reload and its outcome, so made-up kids cost Postgres
        nothing; a key made since then is known a second later.
        """
        now = self._clock()
        reload = self._reload
        if reload is None or (
            reload.done() and now - self._reload_started >= RELOAD_INTERVAL_SECONDS
        ):
            self._reload_started = now
            self._reload = reload = asyncio.create_task(self.refresh())
        # One caller's cancellation must not take the reload from the others.
        await asyncio.shield(reload)

    async def verify(self, token: str, now: float) -> Buyer | TokenRefusal:
        """Check a token, reloading once where its key is unknown; never answers KEY_UNKNOWN."""
        answer = self.verifier.verify(token, now)
        if answer is TokenRefusal.KEY_UNKNOWN:
            await self.refresh_if_unknown()
            answer = self.verifier.verify(token, now)
        return TokenRefusal.TOKEN_INVALID if answer is TokenRefusal.KEY_UNKNOWN else answer

    def signing_key(self, merchant_id: str) -> BuyerKey | None:
        """The merchant's newest active HS256 key, for tokens that we sign ourselves."""
        for key in reversed(self._keys.values()):
            if (key.merchant_id, key.algorithm, key.state) == (merchant_id, "HS256", "active"):
                return key
        return None
