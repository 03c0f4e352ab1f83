from __future__ import annotations

import pytest

from loadtest.profiles import PROFILES, Schedule, Stage, scaled, schedule_of

TABLE = Schedule(-2, [Stage(0, 10), Stage(1, 100), Stage(11, 50)])


@pytest.mark.parametrize(
    ("second", "due"),
    [(-3, 0), (-2, 0), (-1, 10), (0, 20), (0.5, 70), (1, 120), (6, 370), (11, 620), (99, 620)],
)
def test_a_schedule_adds_up(second: float, due: float) -> None:
    assert TABLE.due_before(second) == pytest.approx(due)


@pytest.mark.parametrize("count", [0, 1, 19.5, 20, 70, 119, 120, 600, 619.9])
def test_every_request_has_its_instant(count: float) -> None:
    instant = TABLE.instant_of(count)

    assert instant is not None
    assert TABLE.due_before(instant) == pytest.approx(count)


def test_nothing_is_due_after_the_end() -> None:
    assert TABLE.instant_of(620) is None


@pytest.mark.parametrize("stages", [[Stage(0, None)], [Stage(-2, 5)], [Stage(1, 5), Stage(0, 5)]])
def test_a_table_out_of_order_is_refused(stages: list[Stage]) -> None:
    with pytest.raises(ValueError, match="stages in order"):
        Schedule(-2, stages)


def test_the_launch_offers_ten_requests_a_unit_with_a_spike_at_the_opening() -> None:
    profile = PROFILES["launch-150k"]
    schedule = schedule_of(profile)
    assert schedule is not None

    in_the_sale = schedule.due_before(600) - schedule.due_before(0)
    orders = (profile.users["Buyer"] + profile.users["Impatient"] / 3) / profile.user_count
    assert in_the_sale / profile.units == pytest.approx(10, rel=0.01)
    assert orders == pytest.approx(0.1)
    first = schedule.due_before(1) - schedule.due_before(0)
    assert first == 2 * (schedule.due_before(2) - schedule.due_before(1))
    assert schedule.due_before(3) - schedule.due_before(2) == 2500


def test_less_time_means_less_supply_at_the_same_rates() -> None:
    full = PROFILES["launch-150k"]
    short = scaled(full, 1)
    was, now = schedule_of(full), schedule_of(short)
    assert was is not None
    assert now is not None

    assert (short.units, short.minutes) == (15_000, 1)
    assert [now.due_before(second) for second in range(-3, 60)] == [
        was.due_before(second) for second in range(-3, 60)
    ]
    assert "15,000 units in 1 min instead of 150,000 in 10 min" in short.reduced
    assert full.reduced == ""
    assert scaled(full, None) is full


@pytest.mark.parametrize("minutes", [0, -1, 10.5])
def test_a_length_that_makes_no_sense_is_refused(minutes: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 10 minutes"):
        scaled(PROFILES["launch-150k"], minutes)


def test_full_speed_has_no_schedule() -> None:
    assert schedule_of(PROFILES["full-speed"]) is None
    assert scaled(PROFILES["full-speed"], 1).units == 30_000
