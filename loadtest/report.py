"""The report of a run: one HTML file with curves, and the same as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flashsale.demo import page
from flashsale.demo.page import Curve
from flashsale.demo.stores import Reading
from loadtest.checks import Check
from loadtest.history import Ending, History
from loadtest.profiles import Profile, schedule_of


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run."""

    profile: Profile
    sale: str
    history: History
    ending: Ending
    readings: Sequence[Reading]
    lag_seconds: tuple[float, float, float]
    checks: Sequence[Check]
    equations: Sequence[tuple[str, str]]
    locust_processes: int
    web_processes: int

    @property
    def holds(self) -> bool:
        """Whether every check held."""
        return all(check.holds for check in self.checks)

    @property
    def offered(self) -> float | None:
        """Requests that were due; None where the profile has no schedule."""
        schedule = schedule_of(self.profile)
        return (
            None if schedule is None else schedule.due_before(self.profile.stages[-1].until_second)
        )

    def rows(self) -> list[tuple[str, str]]:
        """The numbers, line by line."""
        offered = self.offered
        sold = max((reading.sold for reading in self.readings), default=0)
        rows = [
            ("Profile", f"{self.profile.name}: {self.profile.title}"),
            ("Units sold", f"{sold:,} of {self.profile.units:,}"),
            ("Requests offered", "as many as possible" if offered is None else f"{offered:,.0f}"),
            ("Requests answered", f"{self.ending.requests:,}"),
        ]
        if offered:
            rows.append(("Answered of offered", f"{self.ending.requests / offered:.1%}"))
        rows += [
            (
                f"Answered {name}",
                f"{row['requests']:,}, median {row['p50_ms']:.0f} ms, p99 {row['p99_ms']:.0f} ms",
            )
            for name, row in self.ending.by_name.items()
        ]
        p50, p99, _ = self.lag_seconds
        rows += [
            ("Settlement lag, median and p99", f"{p50:.2f} s, {p99:.2f} s"),
            ("Web processes, locust processes", f"{self.web_processes}, {self.locust_processes}"),
        ]
        return rows

    def to_json(self) -> str:
        """Everything measured, for machines."""
        content = {
            "profile": asdict(self.profile),
            "sale": self.sale,
            "holds": self.holds,
            "checks": [asdict(check) for check in self.checks],
            "offered": self.offered,
            "requests": self.ending.requests,
            "by_name": self.ending.by_name,
            "settlement_lag_seconds": dict(
                zip(("p50", "p99", "max"), self.lag_seconds, strict=True)
            ),
            "web_processes": self.web_processes,
            "locust_processes": self.locust_processes,
        }
        return json.dumps(content, indent=2) + "\n"

    def to_html(self) -> str:
        """Everything measured, for people."""
        parts = [page.note(self.profile.reduced)] if self.profile.reduced else []
        parts += [
            page.verdict(good=check.holds, text=f"{check.name}: {check.found}")
            for check in self.checks
        ]
        parts.append(page.table(self.rows()))
        parts += self._charts()
        parts += [page.heading("The audit's equations"), page.table(self.equations)]
        return page.page(f"Load test {self.profile.name}", parts)

    def _charts(self) -> list[str]:
        readings = self.readings
        lag = [(reading.at, reading.lag_seconds) for reading in readings]
        labels = {"50%": "median", "95%": "p95", "99%": "p99"}
        return [
            page.chart(
                "Units",
                "sold, settled",
                [
                    Curve("sold in Redis", [(each.at, each.sold) for each in readings]),
                    Curve("settled in Postgres", [(each.at, each.settled) for each in readings]),
                ],
            ),
            page.chart(
                "Rates",
                "requests a second",
                [
                    *self._offered_curve(),
                    Curve("answered", self.history.achieved),
                    Curve("orders reserved", self.history.orders),
                ],
            ),
            page.chart(
                "Time to answer an order",
                "milliseconds, over the last ten seconds",
                [Curve(labels[name], points) for name, points in self.history.latencies.items()],
            ),
            page.chart("Settlement lag", "seconds", [Curve("oldest unsettled unit", lag)]),
        ]

    def _offered_curve(self) -> list[Curve]:
        schedule = schedule_of(self.profile)
        if schedule is None:
            return []
        first, last = int(self.profile.begins_second), int(self.profile.stages[-1].until_second)
        points = [
            (second + 1.0, schedule.due_before(second + 1) - schedule.due_before(second))
            for second in range(first, last)
        ]
        return [Curve("offered", points)]
