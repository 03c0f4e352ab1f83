"""What Prometheus is told of a web process. Merged over all processes that share a folder.

With `PROMETHEUS_MULTIPROC_DIR` set before start (the supervisor does), every process keeps its
values in a file there, and whichever answers a scrape adds them up.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "flashsale_http_requests_total",
            "Requests answered, by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "flashsale_http_request_seconds",
            "Time to answer, by route; the hot routes are not timed.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._refusals = Counter(
            "flashsale_refusals_total",
            "Refusals, by code.",
            ("code",),
            registry=self.registry,
        )
        self._batches = Counter(
            "flashsale_reserve_batches_total",
            "Script calls that decided reservations.",
            registry=self.registry,
        )
        self._reservations = Counter(
            "flashsale_reserve_requests_total",
            "Reservations decided by them; over batches_total this is the size of a batch.",
            registry=self.registry,
        )
        self.gate_open = Gauge(
            "flashsale_gate_open",
            "1 where every process takes orders, 0 where one has closed its gate.",
            multiprocess_mode="livemin",
            registry=self.registry,
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer of a routed call."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def timed(self, route: str, seconds: float) -> None:
        """Add the time of an answer that is counted elsewhere."""
        self._seconds.labels(route).observe(seconds)

    def refused(self, code: str, count: int = 1) -> None:
        """Add refusals of one code."""
        self._refusals.labels(code).inc(count)

    def counted(self, route: str, status: int, count: int = 1) -> None:
        """Add answers of a hot route, which keeps its own count and hands it over now and then."""
        self._requests.labels(route, status).inc(count)

    def gathered(self, batches: int, reservations: int) -> None:
        """Add script calls, and the reservations that they decided."""
        self._batches.inc(batches)
        self._reservations.inc(reservations)

    def render(self) -> bytes:
        """The values of this process, or of all that share the folder, as Prometheus text."""
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)


class SettlementMetrics:
    """The settlement process' instruments; a web process of the same machine answers for them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._orders = Counter(
            "flashsale_settled_orders_total",
            "Orders written to Postgres, new or changed.",
            registry=self.registry,
        )
        self._rejected = Counter(
            "flashsale_settlement_rejected_total",
            "Orders that Postgres' own capacity refused: above 0 is an alarm.",
            registry=self.registry,
        )
        self._dead_letters = Counter(
            "flashsale_settlement_dead_letters_total",
            "Entries that could not be settled: above 0 is an alarm.",
            registry=self.registry,
        )
        self._lag = Histogram(
            "flashsale_settlement_lag_seconds",
            "Age of the oldest decision of a batch when the batch was committed.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def settled(self, *, orders: int, rejected: int, dead_letters: int, lag_ms: int) -> None:
        """Count one batch."""
        self._orders.inc(orders)
        self._rejected.inc(rejected)
        self._dead_letters.inc(dead_letters)
        self._lag.observe(lag_ms / 1000)


def forget_process(pid: int, folder: Path) -> None:
    """Drop the live gauges of a process that ended; its counters stay in the sums."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
