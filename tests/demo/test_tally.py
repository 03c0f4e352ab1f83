from __future__ import annotations

import random

import pytest

from flashsale.demo.tally import Histogram, Tally


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("largest", [50, 5_000, 50_000_000])
def test_a_percentile_is_the_exact_one_within_two_percent(share: float, largest: int) -> None:
    values = sorted(random.Random(largest).choices(range(largest), k=5_000))
    histogram = Histogram()
    histogram.add(values)

    exact = values[max(round(share * len(values)) - 1, 0)]
    assert exact <= histogram.percentile(share) <= exact * 1.016 + 1


def test_nothing_has_no_percentile() -> None:
    assert Histogram().summary() == {
        "count": 0,
        "p50_ms": 0.0,
        "p95_ms": 0.0,
        "p99_ms": 0.0,
        "max_ms": 0.0,
    }


def test_windows_add_up() -> None:
    tally = Tally()
    tally.record("order", "reserved", 0.001)
    tally.record("order", "reserved", 0.003)
    first = tally.roll()
    tally.record("read", "200", 0.5)
    second = tally.roll()

    assert first["counts"] == {"order": {"reserved": 2}}
    assert first["order_latency"]["max_ms"] == 3.0
    assert second["counts"] == {"read": {"200": 1}}
    assert second["order_latency"]["count"] == 0
    assert tally.totals == {"order": {"reserved": 2}, "read": {"200": 1}}
    assert tally.latency()["order"]["count"] == 2
