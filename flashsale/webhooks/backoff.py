"""When a delivery is tried again. Pure: the clock and the dice are arguments."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_SECONDS = 5.0
FACTOR = 3.0
SECONDS_MAX = 6 * 3600.0
#: What an endpoint may ask for by Retry-After.
RETRY_AFTER_SECONDS_MAX = 3600
JITTER = 0.25


def delay_seconds(attempt: int, chance: float, retry_after_seconds: int = 0) -> float:
    """Seconds between attempt number `attempt` (from 1), which failed, and the next.

    5 s, 15 s, 45 s, … up to 6 h, each a quarter shorter or longer by `chance` (from 0 to 1), so
    that what failed together does not come back together; longer where the endpoint asked for it.
    """
    steps = min(attempt - 1, 20)  # far beyond the maximum, and still a small number
    usual = min(FIRST_SECONDS * FACTOR**steps, SECONDS_MAX)
    spread = usual * (1 - JITTER + 2 * JITTER * chance)
    return max(spread, min(retry_after_seconds, RETRY_AFTER_SECONDS_MAX))


def next_attempt(
    now: datetime,
    attempt: int,
    give_up_at: datetime,
    *,
    chance: float,
    retry_after_seconds: int = 0,
) -> datetime | None:
    """When to try again, or None where the time for it is over."""
    wait = timedelta(seconds=delay_seconds(attempt, chance, retry_after_seconds))
    return now + wait if now + wait <= give_up_at else None
