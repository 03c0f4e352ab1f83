from __future__ import annotations

from flashsale.demo.stores import LagMeter


def test_lag_is_the_age_of_the_oldest_unsettled_unit() -> None:
    meter = LagMeter()
    # (seconds, sold, settled) and the lag to see
    steps = [
        (0.0, 0, 0, 0.0),
        (1.0, 10, 0, 0.0),  # sold just now
        (2.0, 20, 0, 1.0),
        (3.0, 30, 10, 1.0),  # the unit after the tenth was sold at 2
        (4.0, 30, 25, 1.0),
        (5.0, 30, 29, 2.0),
        (6.0, 30, 30, 0.0),
        (7.0, 31, 30, 0.0),
        (7.5, 31, 30, 0.5),
    ]
    assert [meter.lag(at, sold, settled) for at, sold, settled, _ in steps] == [
        lag for *_, lag in steps
    ]
