"""The reports' charts: read by people, so their axes carry round numbers."""

from __future__ import annotations

import re

import pytest

from flashsale.demo.page import Curve, chart


@pytest.mark.parametrize(
    ("first", "last", "labels"),
    [
        (-1.4, 19.5, ["0 s", "5 s", "10 s", "15 s"]),
        (0.2, 0.9, ["0.2 s", "0.3 s", "0.4 s", "0.5 s", "0.6 s", "0.7 s", "0.8 s", "0.9 s"]),
        (0.0, 600.0, ["0 s", "100 s", "200 s", "300 s", "400 s", "500 s", "600 s"]),
        (3.0, 3.0, ["3 s"]),
    ],
)
def test_seconds_are_round(first: float, last: float, labels: list[str]) -> None:
    drawn = chart("Units", "sold", [Curve("sold", [(first, 0.0), (last, 7.0)])])
    assert re.findall(r">([-0-9.]+ s)</text>", drawn) == labels


def test_nothing_measured_is_said() -> None:
    assert "Nothing was measured." in chart("Units", "sold", [Curve("sold", [])])
