"""What locust loads: the users, one shape over the profile's table, and the plan of this run."""

from __future__ import annotations

import json
import time
from typing import Any

from locust import LoadTestShape, events
from locust.runners import Runner, WorkerRunner

from loadtest import users
from loadtest.plan import LocustPlan
from loadtest.users import Bot, Browser, Buyer, Impatient

SHARES = (50, 95, 99)

__all__ = ["Bot", "Browser", "Buyer", "Impatient", "ProfileShape"]


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_others: Any) -> None:
    environment.flashsale_run = run = users.Run(LocustPlan.load())
    for kind in (Bot, Browser, Buyer, Impatient):
        kind.fixed_count = run.profile.users[kind.__name__]

    @events.quit.add_listener  # type: ignore[untyped-decorator]
    def end(**_others: Any) -> None:
        # Workers count only their own; what they counted has reached the master by now.
        if not isinstance(environment.runner, WorkerRunner):
            save_ending(run, environment.runner)


def save_ending(run: users.Run, runner: Runner) -> None:
    """Write the exact totals: locust's own CSV files may be a second behind at the end."""
    stats = runner.stats
    entries = {
        entry.name: {
            "requests": entry.num_requests,
            **{f"p{share}_ms": entry.get_response_time_percentile(share / 100) for share in SHARES},
        }
        for entry in stats.entries.values()
    }
    failures = [
        {"name": error.name, "error": str(error.error), "count": error.occurrences}
        for error in stats.errors.values()
    ]
    failures += [
        {"name": "a user crashed", "error": str(crash["msg"]), "count": crash["count"]}
        for crash in runner.exceptions.values()
    ]
    ending = {"requests": stats.total.num_requests, "by_name": entries, "failures": failures}
    run.plan.ending_file.write_text(json.dumps(ending), encoding="utf-8")


class ProfileShape(LoadTestShape):
    """All users from the start to the end; the rates are in the schedule that they follow."""

    def tick(self) -> tuple[int, float] | None:
        environment: Any = self.runner.environment if self.runner else None
        run: users.Run = environment.flashsale_run
        second = time.time() - run.plan.starts_at_ms / 1000
        if second >= run.profile.stages[-1].until_second or run.plan.stop_file.exists():
            return None
        return run.profile.user_count, run.profile.user_count
