"""Redis within reach and out of it: scripts by a clock of ours, and a way to them that is cut.

Redis' TIME cannot be set, so the scripts are loaded from a copy whose clock adds what a key beside
the lane's says.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.reservation.scripts import ScriptRunner, load_scripts
from flashsale.reservation.store import ReservationStore
from flashsale.shipped import shipped
from tests.payments.parts import Clock

#: Lanes that a sale of the model may have.
LANES_MAX = 2
_CLOCK = """\
--- Redis' own clock, put forward by a test.
local function clock()
  local time = redis.call('TIME')
  local ahead = tonumber(redis.call('GET', KEYS[1] .. ':ahead_ms') or 0)
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + ahead
end
"""


def scripts_in(folder: Path, *faults: tuple[str, str, str]) -> Mapping[str, Any]:
    """The scripts with a clock that can be put forward; a fault is (file, what is there, instead).

    Loaded as the engine loads its own.
    """
    shutil.copytree(shipped("lua"), folder)
    (folder / "includes" / "clock.lua").write_text(_CLOCK)
    for name, there, instead in faults:
        source = (folder / name).read_text()
        assert there in source, f"{name} has changed: plant the fault anew"
        (folder / name).write_text(source.replace(there, instead))
    return load_scripts(folder)


class Way(ScriptRunner):
    """Runs scripts; after so many calls Redis is out of reach, perhaps before the last answer."""

    calls_left: int | None = None
    answered = True

    async def run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        if self.calls_left is None:
            return await super().run(name, keys, args)
        self.calls_left -= 1
        if self.calls_left >= 0:
            reply = await super().run(name, keys, args)
            if self.calls_left or self.answered:
                return reply
        raise StoreUnavailableError("a test is in the way")


class Store(ReservationStore):
    """The store by the clock that the scripts go by; the way to it may be cut."""

    clock: Clock

    def __init__(self, redis: Redis, scripts: Mapping[str, Any]) -> None:
        super().__init__(redis, scripts)
        self.way = self._runner = Way(self._links, scripts)

    async def now_ms(self) -> int:
        return await super().now_ms() + int(self.clock.ahead.total_seconds() * 1000)
