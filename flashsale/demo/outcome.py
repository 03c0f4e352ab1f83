"""What a demo found: one value, from which screen, JSON and HTML are written. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flashsale.demo import page
from flashsale.demo.proof import Proof
from flashsale.demo.stores import Reading
from flashsale.demo.verdict import Verdict

#: Mi 3, November 2013: 150,000 sold in 9 min 55 s, as Xiaomi published.
XIAOMI_UNITS, XIAOMI_SECONDS = 150_000, 595


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished launch. `load` is the driver's result; seconds count from the opening.

    `settled_seconds`: until all units sold were committed in Postgres; None where they never were.
    """

    sale: str
    units: int
    web_processes: int
    load: Mapping[str, Any]
    windows: Sequence[Mapping[str, Any]]
    readings: Sequence[Reading]
    settled_seconds: float | None
    lag_seconds: tuple[float, float, float]
    redis_bytes: int
    proof: Proof
    verdict: Verdict

    @property
    def sold_seconds(self) -> float:
        """When the last unit was answered."""
        return float(self.load["last_reserved_seconds"])

    @property
    def orders_per_second(self) -> float:
        """Units over the time they took."""
        return float(self.load["reserved"]) / max(self.sold_seconds, 0.001)

    @property
    def requests(self) -> int:
        """Everything that was answered."""
        return sum(sum(kind.values()) for kind in self.load["counts"].values())

    @property
    def failures(self) -> list[str]:
        """Everything that must not be, in sentences; empty where the launch went well."""
        found = list(self.load["problems"])
        if self.load["reserved"] != self.units:
            found.append(f"{self.load['reserved']:,} of {self.units:,} units were reserved")
        if self.settled_seconds is None:
            found.append("not everything that was sold reached Postgres in time")
        if not self.proof.holds:
            found.append(self.proof.sentence())
        if not self.verdict.holds:
            found.append(self.verdict.sentence)
        return found

    def rows(self) -> list[tuple[str, str]]:
        """The summary, line by line."""
        orders, refused = self._latency("order"), self._latency("refused")
        faster = XIAOMI_SECONDS / max(self.sold_seconds, 0.001) * self.units / XIAOMI_UNITS
        settled = "never" if self.settled_seconds is None else f"{self.settled_seconds:.1f} s"
        return [
            ("Units sold", f"{self.load['reserved']:,} of {self.units:,}"),
            ("Sold out after", f"{self.sold_seconds:.1f} s"),
            ("Orders a second", f"{self.orders_per_second:,.0f}"),
            (
                "Xiaomi, 2013: 150,000 in 9 min 55 s",
                f"{XIAOMI_UNITS / XIAOMI_SECONDS:,.0f} a second; this is {faster:,.1f} times that",
            ),
            ("Everything in Postgres after", settled),
            ("Settlement lag, median and p99", "{:.2f} s, {:.2f} s".format(*self.lag_seconds)),
            ("Requests answered", f"{self.requests:,}"),
            ("Order answered in, median and p99", _pair(orders)),
            ("Refused, sold out", f"{self._count('refused', 'sold_out'):,}"),
            ("Refusal answered in, median and p99", _pair(refused)),
            (
                "Asked again, told the same",
                f"{self._count('repeat', 'same') + self._count('comeback', 'same'):,}",
            ),
            ("Connections lost before the answer", f"{self.load['faults']['dropped']:,}"),
            ("Redis memory after settlement", f"{self.redis_bytes / 2**20:.1f} MiB"),
            ("Web processes", f"{self.web_processes}"),
            ("CPU of the load driver", f"{self.load['cpu_seconds']:.1f} s"),
        ]

    def _count(self, kind: str, outcome: str) -> int:
        return int(self.load["counts"].get(kind, {}).get(outcome, 0))

    def _latency(self, kind: str) -> Mapping[str, float]:
        found: Mapping[str, float] = self.load["latency"].get(kind, {})
        return found

    def to_json(self) -> str:
        """Everything measured, for machines."""
        content = {
            "sale": self.sale,
            "units": self.units,
            "reserved": self.load["reserved"],
            "sold_seconds": self.sold_seconds,
            "settled_seconds": self.settled_seconds,
            "orders_per_second": self.orders_per_second,
            "settlement_lag_seconds": dict(
                zip(("p50", "p99", "max"), self.lag_seconds, strict=True)
            ),
            "requests": self.requests,
            "redis_bytes": self.redis_bytes,
            "web_processes": self.web_processes,
            "audit": {"holds": self.verdict.holds, "text": self.verdict.sentence},
            "proof": {"holds": self.proof.holds, "text": self.proof.sentence()},
            "failures": self.failures,
            "xiaomi_2013": {"units": XIAOMI_UNITS, "seconds": XIAOMI_SECONDS},
            "load": self.load,
            "readings": [reading._asdict() for reading in self.readings],
        }
        return json.dumps(content, indent=2) + "\n"

    def to_html(self) -> str:
        """Everything measured, for people."""
        sold = [(each.at, float(each.sold)) for each in self.readings]
        settled = [(each.at, float(each.settled)) for each in self.readings]
        p50, p99 = (self._curve_of_latency(name) for name in ("p50_ms", "p99_ms"))
        parts = [page.verdict(good=not self.failures, text=text) for text in self.verdicts()]
        parts += [
            page.table(self.rows()),
            page.chart(
                "Units",
                "sold, settled",
                [
                    page.Curve("sold in Redis", sold),
                    page.Curve("settled in Postgres", settled),
                ],
            ),
            page.chart(
                "Rate",
                "requests a second",
                [
                    page.Curve("all requests", self._rate(None)),
                    page.Curve("orders reserved", self._rate("order")),
                ],
            ),
            page.chart(
                "Time to answer an order",
                "milliseconds",
                [
                    page.Curve("median", p50),
                    page.Curve("p99", p99),
                ],
            ),
            page.chart(
                "Settlement lag",
                "seconds",
                [
                    page.Curve(
                        "oldest unsettled unit", [(r.at, r.lag_seconds) for r in self.readings]
                    )
                ],
            ),
            page.heading("The audit's equations"),
            page.table(self.verdict.equations),
        ]
        return page.page(f"A launch of {self.units:,} units", parts)

    def verdicts(self) -> list[str]:
        """The last word: what holds where all is well, else each failure."""
        if self.failures:
            return [sentence[:1].upper() + sentence[1:] + "." for sentence in self.failures]
        return [
            f"{sentence[:1].upper()}{sentence[1:]}."
            for sentence in (self.verdict.sentence, self.proof.sentence())
        ]

    def _curve_of_latency(self, name: str) -> list[tuple[float, float]]:
        return [
            (window["at"], window["order_latency"][name])
            for window in self.windows
            if window["order_latency"]["count"]
        ]

    def _rate(self, kind: str | None) -> list[tuple[float, float]]:
        points, before = [], None
        for window in self.windows:
            counts = window["counts"]
            chosen = counts.values() if kind is None else [counts.get(kind, {})]
            count = sum(sum(outcomes.values()) for outcomes in chosen)
            if before is not None:
                points.append((window["at"], count / max(window["at"] - before, 0.001)))
            before = window["at"]
        return points


def _pair(latency: Mapping[str, float]) -> str:
    if not latency:
        return "none"
    return f"{latency['p50_ms']:.1f} ms, {latency['p99_ms']:.1f} ms"
