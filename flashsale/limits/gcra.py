"""The arithmetic of a rate limit, pure: `lua/limits/take.lua` does the same. Reads no clock."""

from __future__ import annotations

import math
from typing import NamedTuple

PER_SECOND_MAX = 1_000_000


class Rate(NamedTuple):
    """`milli` units a 1,000 seconds, and at most `burst` units at once; both at least 1."""

    milli: int
    burst: int

    @property
    def seconds_a_unit(self) -> float:
        """What one unit costs, in time."""
        return 1000 / self.milli


class Taken(NamedTuple):
    """What a pot gave: until when it is spoken for now, units, and the wait for the next one.

    `wait_us` is 0 where everything that was asked for is granted.
    """

    tat_us: int
    granted: int
    wait_us: int


def take(tat_us: int, now_us: int, asked: int, rate: Rate) -> Taken:
    """Take up to `asked` units from a pot that is spoken for until `tat_us` (0: never used)."""
    milli, burst = rate
    tat_us = max(tat_us, now_us)
    granted = min(asked, max(0, math.floor((now_us - tat_us) * milli / 1e9 + burst)))
    tat_us += math.ceil(granted * 1e9 / milli)
    if granted == asked:
        return Taken(tat_us, granted, 0)
    free_at = tat_us - (burst - 1) * 1e9 / milli
    return Taken(tat_us, granted, max(1, math.ceil(free_at - now_us)))


def divided(per_second: int, burst_seconds: int, share_percent: int) -> tuple[Rate | None, Rate]:
    """The share of each process, and the common pot; together they are the limit.

    There is no share where it would be less than one unit at once: Redis decides everything then.
    """
    assert 1 <= per_second <= PER_SECOND_MAX
    whole = Rate(per_second * 1000, per_second * burst_seconds)
    share = Rate(whole.milli * share_percent // 100, whole.burst * share_percent // 100)
    if share.burst < 1:
        return None, whole
    return share, Rate(whole.milli - share.milli, whole.burst - share.burst)
