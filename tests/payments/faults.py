"""A process that dies at a chosen step: before it is sent, or after it took effect.

Steps are calls of Redis, of the provider, and uses of a Postgres connection. The real ones are
called; only the answer, or the call, is lost, and with it everything the process did next.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any


class Died(Exception):  # noqa: N818 - what happened, and no error
    """The process is no more; whatever it would do next does not happen either."""


@dataclass
class Faults:
    """Counts steps; at number `at` (from 0) the process dies, `after` the step or before it."""

    at: int = 1_000_000
    after: bool = False
    steps: list[str] = field(default_factory=list)
    dead: bool = False

    @contextlib.asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        mine = len(self.steps) == self.at
        self.steps.append(name)
        if self.dead or (mine and not self.after):
            self.dead = True
            raise Died(name)
        yield
        if self.dead or mine:
            self.dead = True
            raise Died(name)

    def proxy(self, real: Any) -> Any:
        return _Proxy(self, real)

    def pool(self, real: Any) -> Any:
        return _Pool(self, real)


@dataclass
class _Proxy:
    faults: Faults
    real: Any

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            async with self.faults.step(name):
                return await found(*args, **more)

        return call


@dataclass
class _Pool(_Proxy):
    def acquire(self) -> Any:
        return self._acquire()

    @contextlib.asynccontextmanager
    async def _acquire(self) -> AsyncIterator[Any]:
        async with self.faults.step("transaction"), self.real.acquire() as connection:
            yield connection
