"""Reads what locust left behind: curves out of its CSV history, and the totals. Judges nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERCENTILES = ("50%", "95%", "99%")
Points = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class History:
    """Curves over seconds since the opening: requests a second, and milliseconds of orders."""

    achieved: Points
    orders: Points
    latencies: dict[str, Points]


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


@dataclass(frozen=True, slots=True)
class Ending:
    """Totals of a run: by name of request, and each kind of failure."""

    requests: int
    by_name: Mapping[str, Mapping[str, float]]
    failures: Sequence[Mapping[str, Any]]


def read_ending(path: Path) -> Ending:
    """What locust wrote as it ended; FileNotFoundError where it was killed."""
    return Ending(**json.loads(path.read_text(encoding="utf-8")))
