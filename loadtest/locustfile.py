"""What locust loads: the users, one shape over the profile's table, and the plan of this run."""

from __future__ import annotations

import time
from typing import Any

from locust import LoadTestShape, events

from loadtest import users
from loadtest.plan import LocustPlan
from loadtest.users import Bot, Browser, Buyer, Impatient

__all__ = ["Bot", "Browser", "Buyer", "Impatient", "ProfileShape"]


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_others: Any) -> None:
    environment.flashsale_run = run = users.Run(LocustPlan.load())
    for kind in (Bot, Browser, Buyer, Impatient):
        kind.fixed_count = run.profile.users[kind.__name__]


class ProfileShape(LoadTestShape):
    """All users from the start to the end; the rates are in the schedule that they follow."""

    def tick(self) -> tuple[int, float] | None:
        environment: Any = self.runner.environment if self.runner else None
        run: users.Run = environment.flashsale_run
        second = time.time() - run.plan.starts_at_ms / 1000
        if second >= run.profile.stages[-1].until_second or run.plan.stop_file.exists():
            return None
        return run.profile.user_count, run.profile.user_count
