"""Whoever is woken at night finds every metric and every log event in docs/operating.md."""

from __future__ import annotations

import ast
import re

from prometheus_client import CollectorRegistry

from flashsale.payments.values import MoneyCounters
from flashsale.preorders.values import Counts
from flashsale.reconciliation.watch import Progress as Reconciling
from flashsale.recovery.keeper import Progress as Recovering
from flashsale.timekeeper.opening import OpeningGuard
from flashsale.timekeeper.timekeeper import Progress as Keeping
from flashsale.web.metrics import Metrics, SettlementMetrics
from flashsale.webhooks.delivery_lane import Progress
from flashsale.wiring.dispatch_metrics import DispatchMetrics
from flashsale.wiring.timekeeper_metrics import TimekeeperMetrics
from tests.tidy.sources import ROOT, modules, tree

TEXT = (ROOT / "docs" / "operating.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def logged_events() -> set[str]:
    """The first argument of every call of a module's structlog logger."""
    return {
        node.args[0].value
        for path in modules()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "_LOG"
        and isinstance(node.args[0], ast.Constant)
    }


def exported(registry: CollectorRegistry) -> set[str]:
    """Names as a scrape shows them."""
    return {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in registry.collect()
    }


def test_every_metric_is_explained_and_no_other():
    totals = {"money": MoneyCounters(), "webhooks": Progress(), "preorders": Counts()}
    guard = OpeningGuard(None, None, None, stops=True)
    keeping = TimekeeperMetrics(Keeping(), guard, Recovering(), Reconciling())
    registries = (
        keeping.registry,
        Metrics().registry,
        SettlementMetrics(CollectorRegistry()).registry,
        DispatchMetrics(totals).registry,
    )
    rows = set(re.findall(r"^\| `(flashsale_\w+)", TEXT, re.MULTILINE))
    assert rows == set.union(*map(exported, registries))


def test_every_log_event_is_explained_and_no_other():
    section = TEXT.partition("## Log events")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == logged_events()


def test_alerts_ask_for_metrics_that_exist():
    rows = set(re.findall(r"^\| `(flashsale_\w+)", TEXT, re.MULTILINE))
    asked = {name.removesuffix("_bucket") for name in re.findall(r"flashsale_\w+(?=[{\[])", TEXT)}
    assert asked
    assert asked <= rows
