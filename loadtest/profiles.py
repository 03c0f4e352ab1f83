"""Profiles as tables, and the arithmetic of offering requests at a rate. Pure; knows no locust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Stage:
    """Until this second after the opening, requests a second in all; None: as fast as it goes."""

    until_second: float
    requests_per_second: float | None


@dataclass(frozen=True, slots=True)
class Profile:
    """One load test. `users` counts locust users by class; `begins_second` is before the opening.

    `reduced` says in a sentence what was made smaller than the profile's name promises.
    """

    name: str
    title: str
    units: int
    users: Mapping[str, int]
    begins_second: float
    stages: tuple[Stage, ...]
    ends_when_sold_out: bool = False
    reduced: str = ""

    @property
    def minutes(self) -> float:
        """From the opening to the end."""
        return self.stages[-1].until_second / 60

    @property
    def user_count(self) -> int:
        """All users."""
        return sum(self.users.values())


# A hundred users keep 2,500 requests a second up while an answer takes less than 40 ms.
# One request in ten is an order: 8 buyers in 100, and every third request of 6 impatient ones.
_LAUNCH_USERS = {"Browser": 66, "Buyer": 8, "Impatient": 6, "Bot": 20}

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                name="launch-150k",
                title="150,000 units at 250 a second, ten requests a unit",
                units=150_000,
                users=_LAUNCH_USERS,
                begins_second=-3,
                stages=(Stage(0, 500), Stage(1, 5_000), Stage(600, 2_500)),
            ),
            Profile(
                name="full-speed",
                title="150,000 units as fast as this machine goes",
                units=150_000,
                # Without pauses, beyond sixty users a locust process measures itself.
                users={"Browser": 2, "Buyer": 36, "Impatient": 1, "Bot": 1},
                begins_second=0,
                stages=(Stage(300, None),),
                ends_when_sold_out=True,
            ),
        )
    }
)


def scaled(profile: Profile, minutes: float | None) -> Profile:
    """The profile in less time: supply and length shrink alike, the rates and the spike stay.

    ValueError where `minutes` is not between 0 and the profile's own.
    """
    if minutes is None or minutes == profile.minutes:
        return profile
    if not 0 < minutes < profile.minutes:
        raise ValueError(f"{profile.name} takes between 0 and {profile.minutes:g} minutes.")
    share = minutes / profile.minutes
    units = max(round(profile.units * share), 1)
    last = profile.stages[-1]
    stages = (*profile.stages[:-1], replace(last, until_second=minutes * 60))
    return replace(
        profile,
        units=units,
        stages=tuple(stage for stage in stages if stage.until_second <= minutes * 60),
        reduced=(
            f"Scaled down: {units:,} units in {minutes:g} min instead of {profile.units:,}"
            f" in {profile.minutes:g} min; the rates are those of the full profile."
        ),
    )


class Schedule:
    """When each request of a profile is due. Instants are seconds since the opening.

    Offered load is this schedule, whatever the server makes of it; users who fall behind catch up.
    """

    def __init__(self, begins_second: float, stages: Sequence[Stage]) -> None:
        #: (second, requests due before it): straight lines between the points.
        self._points = [(begins_second, 0.0)]
        for stage in stages:
            second, count = self._points[-1]
            if stage.requests_per_second is None or stage.until_second <= second:
                raise ValueError("a schedule needs a rate in every stage, and stages in order")
            due = (stage.until_second - second) * stage.requests_per_second
            self._points.append((stage.until_second, count + due))

    def due_before(self, second: float) -> float:
        """How many requests are due before an instant."""
        for (start, before), (end, after) in pairwise(self._points):
            if second < end:
                passed = max(second - start, 0.0)
                return before + (after - before) * passed / (end - start)
        return self._points[-1][1]

    def instant_of(self, count: float) -> float | None:
        """When the schedule reaches a number of requests; None where it never does."""
        for (start, before), (end, after) in pairwise(self._points):
            if before <= count < after:
                return start + (end - start) * (count - before) / (after - before)
        return None


def schedule_of(profile: Profile) -> Schedule | None:
    """The profile's schedule; None where it goes as fast as it can."""
    if any(stage.requests_per_second is None for stage in profile.stages):
        return None
    return Schedule(profile.begins_second, profile.stages)
