from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flashsale.demo.outcome import Outcome
from flashsale.demo.proof import Proof
from flashsale.demo.screen import Scene, save_picture, sparkline, summary
from flashsale.demo.stores import Reading
from flashsale.demo.verdict import Verdict

LATENCY = {"count": 1000, "p50_ms": 3.0, "p95_ms": 5.0, "p99_ms": 9.0, "max_ms": 12.0}
LOAD: Mapping[str, Any] = {
    "reserved": 1000,
    "last_reserved_seconds": 2.0,
    "counts": {"order": {"reserved": 1000}, "refused": {"sold_out": 100}, "repeat": {"same": 20}},
    "latency": {"order": LATENCY, "refused": LATENCY},
    "faults": {"dropped": 2},
    "problems": [],
    "cpu_seconds": 0.5,
}
WINDOW = {"at": 0.25, "counts": LOAD["counts"], "order_latency": LATENCY}
PROOF = Proof(answered=1000, stored=1000, lost_count=0, untold_count=0, repeated_count=0)
GOOD = Outcome(
    sale="abcdefghijkl",
    units=1000,
    web_processes=1,
    load=LOAD,
    windows=[WINDOW, {**WINDOW, "at": 0.5}],
    readings=[Reading(0.0, 0, 0, 0.0), Reading(2.0, 1000, 1000, 0.1)],
    settled_seconds=2.1,
    lag_seconds=(0.02, 0.05, 0.06),
    redis_bytes=3 << 20,
    proof=PROOF,
    verdict=Verdict(holds=True, sentence="the audit holds, all 23 equations"),
)


def test_a_good_launch_has_no_failures() -> None:
    assert GOOD.failures == []
    assert GOOD.orders_per_second == 500
    assert GOOD.requests == 1120
    rows = dict(GOOD.rows())
    assert rows["Units sold"] == "1,000 of 1,000"
    assert rows["Xiaomi, 2013: 150,000 in 9 min 55 s"] == "252 a second; this is 2.0 times that"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"load": {**LOAD, "reserved": 999}}, "999 of 1,000 units were reserved"),
        ({"load": {**LOAD, "problems": ["two orders for one key"]}}, "two orders for one key"),
        ({"settled_seconds": None}, "not everything that was sold reached Postgres"),
        ({"proof": replace(PROOF, lost_count=1)}, "1 answered orders are lost"),
        ({"verdict": Verdict(holds=False, sentence="the audit is broken")}, "audit is broken"),
    ],
)
def test_each_fault_fails_the_launch(fault: dict[str, Any], told: str) -> None:
    outcome = replace(GOOD, **fault)

    assert len(outcome.failures) == 1
    assert told in outcome.failures[0]
    assert json.loads(outcome.to_json())["failures"] == outcome.failures
    assert told[1:] in outcome.to_html()  # a sentence begins with a capital there


def test_the_summary_ends_with_the_verdict() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(summary(GOOD))

    assert "✓ The audit holds, all 23 equations." in captured.get()
    assert "✓ All 1,000 orders answered are in Postgres, and no others." in captured.get()


def test_the_picture_shows_the_last_scene_once(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "demo.svg"

    save_picture(path, Scene(1000, stage="done", sold=1000, settled=1000), GOOD)

    picture = path.read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert picture.count("settled") == 1
    assert "1,000&#160;/&#160;1,000" in picture


@pytest.mark.parametrize(
    ("values", "drawn"), [([], ""), ([0, 0], "▁▁"), ([1, 4, 8], "▁▄█"), ([5], "█")]
)
def test_a_sparkline_reaches_its_top(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn
