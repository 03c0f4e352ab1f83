"""What Prometheus is told of money, webhooks and pre-orders. Reads totals, and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from prometheus_client import CollectorRegistry, Counter, Gauge

#: A metric, its words, and the field of the totals that it counts.
_COUNTED: tuple[tuple[str, str, str, str], ...] = (
    ("money", "captured", "flashsale_payments_captured_total", "Captures told by a provider."),
    ("money", "declined", "flashsale_payments_declined_total", "Payments declined or closed."),
    ("money", "late", "flashsale_payments_late_total", "Captures that came too late to count."),
    ("money", "refunds_sent", "flashsale_refunds_sent_total", "Refunds handed to a provider."),
    ("money", "refunded", "flashsale_refunds_done_total", "Refunds a provider has paid out."),
    ("money", "refund_failed", "flashsale_refunds_failed_total", "Refunds a provider refused."),
    ("money", "quarantined", "flashsale_callbacks_quarantined_total", "Callbacks put aside."),
    ("money", "unmatched", "flashsale_callbacks_unmatched_total", "Callbacks nobody knows of."),
    ("money", "outbox_done", "flashsale_outbox_done_total", "Wishes carried out."),
    ("money", "outbox_failures", "flashsale_outbox_failures_total", "Attempts that failed."),
    ("money", "outbox_stuck", "flashsale_outbox_stuck_total", "Attempts after many failures."),
    ("webhooks", "delivered", "flashsale_webhooks_delivered_total", "Webhooks that were taken."),
    ("webhooks", "failed", "flashsale_webhooks_failed_total", "Attempts that were not."),
    ("webhooks", "dead", "flashsale_webhooks_dead_total", "Webhooks given up."),
    ("preorders", "allocated", "flashsale_preorders_allocated_total", "Orders given a unit."),
    ("preorders", "ended", "flashsale_preorders_ended_total", "Orders ended without a balance."),
    ("preorders", "failures", "flashsale_preorders_failures_total", "Rounds that failed."),
    ("timekeeper", "opened", "flashsale_sales_opened_total", "Openings written down."),
    ("timekeeper", "closed", "flashsale_sales_closed_total", "Ends written down."),
    ("timekeeper", "supplied", "flashsale_supplies_applied_total", "Waves and cuts carried out."),
    ("timekeeper", "expired", "flashsale_holds_expired_total", "Holds and checkouts ended."),
    ("timekeeper", "cancelled", "flashsale_holds_cancelled_total", "Holds of cancelled sales."),
    ("timekeeper", "repaired", "flashsale_lanes_repaired_total", "Lanes told what they missed."),
    ("timekeeper", "retired", "flashsale_sales_retired_total", "Sales taken out of Redis."),
    ("timekeeper", "failures", "flashsale_timekeeper_failures_total", "Steps left for later."),
    ("openings", "stopped", "flashsale_openings_stopped_total", "Sales paused as unsafe."),
    ("openings", "failures", "flashsale_openings_unchecked_total", "Looks that failed."),
    ("recovery", "recovered", "flashsale_recoveries_total", "Sales rebuilt in Redis."),
    ("recovery", "failures", "flashsale_recovery_failures_total", "Looks or rebuilds that failed."),
    ("drift", "rounds", "flashsale_reconciliations_total", "Rounds over all running sales."),
    ("drift", "shut_by_us", "flashsale_skus_shut_total", "SKUs shut because of a drift."),
    ("drift", "failures", "flashsale_reconciliation_failures_total", "Sales not looked at."),
)


class Totals:
    """Counters of what a process' parts have counted; `totals` only ever grow."""

    def __init__(self, totals: Mapping[str, object], registry: CollectorRegistry) -> None:
        self._read: list[tuple[Counter, Callable[[], int]]] = [
            (Counter(name, words, registry=registry), _reader(totals[part], field))
            for part, field, name, words in _COUNTED
            if part in totals
        ]
        self._told = [0] * len(self._read)

    def count(self) -> None:
        """Hand over what has been counted since the last time."""
        for place, (counter, read) in enumerate(self._read):
            now = read()
            counter.inc(now - self._told[place])
            self._told[place] = now


class DispatchMetrics:
    """The instruments of a dispatch process."""

    def __init__(
        self, totals: Mapping[str, object], registry: CollectorRegistry | None = None
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self.totals = Totals(totals, self.registry)
        self._waiting = Gauge(
            "flashsale_outbox_waiting",
            "Wishes that wait.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self._oldest = Gauge(
            "flashsale_outbox_oldest_seconds",
            "Age of the oldest wish.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )

    def backlog(self, waiting: int, oldest_ms: int) -> None:
        """How much is waiting in the outbox, and for how long the oldest has been."""
        self._waiting.set(waiting)
        self._oldest.set(oldest_ms / 1000)


def _reader(totals: object, field: str) -> Callable[[], int]:
    names = {each.name for each in fields(totals)}  # type: ignore[arg-type]
    assert field in names, f"{type(totals).__name__} has no {field}"
    return lambda: int(getattr(totals, field))
