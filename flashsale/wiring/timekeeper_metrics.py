"""What Prometheus is told of a timekeeper process. Reads totals, and decides nothing."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from flashsale.reconciliation.watch import Progress as DriftProgress
from flashsale.recovery.keeper import Progress as RecoveryProgress
from flashsale.timekeeper.opening import OpeningGuard
from flashsale.timekeeper.timekeeper import Progress
from flashsale.wiring.dispatch_metrics import Totals


class TimekeeperMetrics:
    """The instruments of a timekeeper process; of several, the highest gauge is shown."""

    def __init__(
        self,
        keeping: Progress,
        openings: OpeningGuard,
        recovery: RecoveryProgress,
        drift: DriftProgress,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.registry = registry or CollectorRegistry()
        self._keeping, self._recovery, self._drift = keeping, recovery, drift
        parts = {"timekeeper": keeping, "openings": openings, "recovery": recovery, "drift": drift}
        self._totals = Totals(parts, self.registry)
        self._leading = self._gauge(
            "flashsale_timekeeper_leading", "1 where a timekeeper process acts."
        )
        self._lateness = self._gauge(
            "flashsale_opening_lateness_seconds", "How late the last opening was written down."
        )
        self._faults = self._gauge(
            "flashsale_sales_to_recover", "Sales that Redis does not hold as Postgres knows them."
        )
        self._drifting = self._gauge(
            "flashsale_drift", "Equations between the two stores that did not hold at two looks."
        )
        self._shut = self._gauge("flashsale_shut_skus", "SKUs that nobody may reserve.")
        self._looked_at = self._gauge(
            "flashsale_reconciled_at_seconds", "When all running sales were last reconciled."
        )

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, multiprocess_mode="livemax", registry=self.registry)

    def export(self) -> None:
        """Hand over what has happened since the last time, and how things stand."""
        self._totals.count()
        self._leading.set(self._keeping.leading)
        self._lateness.set(self._keeping.lateness_ms / 1000)
        self._faults.set(self._recovery.faults)
        self._drifting.set(self._drift.drifting)
        self._shut.set(self._drift.shut)
        self._looked_at.set(self._drift.looked_at)
