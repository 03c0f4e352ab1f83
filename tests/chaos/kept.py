"""Processes and servers of one world: started, killed, stopped, and started again by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from flashsale.embedded.errors import EmbeddedError
from flashsale.embedded.process import Child

_PAUSE_SECONDS = 0.2


def now_ms() -> int:
    """The wall clock of the run."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Kept:
    """One program that is started again whenever it ends, unless it is `held` down."""

    name: str
    start: Callable[[], Awaitable[Child]]
    told: Callable[[dict[str, object]], None]
    stop_signal: int = signal.SIGTERM
    child: Child | None = None
    starts: int = 0
    _allowed: asyncio.Event = field(default_factory=asyncio.Event)
    _up: asyncio.Event = field(default_factory=asyncio.Event)
    _keeper: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start it and keep it."""
        self._allowed.set()
        self._keeper = asyncio.create_task(self._keep())
        await self.is_up()

    async def is_up(self) -> None:
        """Wait until it has been started."""
        assert self._keeper is not None
        waiting = asyncio.create_task(self._up.wait())
        await asyncio.wait((waiting, self._keeper), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            self._keeper.result()

    async def _keep(self) -> None:
        while True:
            await self._allowed.wait()
            try:
                self.child = await self.start()
            except EmbeddedError as error:
                self.told({"name": self.name, "what": "failed", "note": str(error)[:200]})
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            self.starts += 1
            self._up.set()
            self.told({"name": self.name, "what": "up"})
            code = await self.child.wait()
            self._up.clear()
            self.told({"name": self.name, "what": "down", "code": code})
            await asyncio.sleep(_PAUSE_SECONDS)

    def signal(self, number: int) -> None:
        """Send a signal to it where it runs."""
        if self.child is not None and self.child.exit_code() is None:
            os.kill(self.child.pid, number)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        child = self.child
        self.signal(signal.SIGKILL)
        if child is not None:
            await child.wait()

    @contextlib.asynccontextmanager
    async def held(self):
        """Killed, and down for as long as the block lasts; up again when it is left."""
        await self.is_up()  # one that is being started must not come up in the middle
        self._allowed.clear()
        await self.kill()
        try:
            yield
        finally:
            while self._up.is_set():  # its end is noticed a moment later
                await asyncio.sleep(0.01)
            self._allowed.set()
            await self.is_up()

    async def end(self, patience_seconds: float = 5.0) -> None:
        """End it for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        if self.child is not None and self.child.exit_code() is None:
            self.signal(signal.SIGCONT)
            await self.child.stop(self.stop_signal, patience_seconds)
