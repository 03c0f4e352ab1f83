"""Reads the curves out of locust's CSV history. Pure."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PERCENTILES = ("50%", "95%", "99%")
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class History:
    """Curves over seconds since the opening: requests a second, and milliseconds of orders."""

    achieved: Points
    orders: Points
    latencies: dict[str, Points]
    requests: int


def read_history(path: Path, starts_at: float) -> History:
    """The history that `--csv … --csv-full-history` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    total = [row for row in rows if row["Name"] == "Aggregated"]
    orders = [row for row in rows if row["Name"] == "order"]
    return History(
        achieved=_rates(total, starts_at),
        orders=_rates(orders, starts_at),
        latencies={
            name: [
                (int(row["Timestamp"]) - starts_at, float(row[name]))
                for row in orders
                if row[name] not in {"", "N/A"}
            ]
            for name in PERCENTILES
        },
        requests=int(total[-1]["Total Request Count"]) if total else 0,
    )


def _rates(rows: Sequence[dict[str, str]], starts_at: float) -> Points:
    """Differences of the running totals: locust's own rate is an average over ten seconds."""
    points = []
    before, count = None, 0
    for row in rows:
        instant, total = int(row["Timestamp"]), int(row["Total Request Count"])
        if before is not None and instant > before:
            points.append((instant - starts_at, (total - count) / (instant - before)))
        if before is None or instant > before:
            before, count = instant, total
    return points


def read_summary(path: Path) -> dict[str, dict[str, str]]:
    """The end of a run, by name of request: `…_stats.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["Name"]: row for row in csv.DictReader(file)}
