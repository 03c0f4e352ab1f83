"""All keys of a lane share one hash tag, and no two lanes share a key."""

from __future__ import annotations

from itertools import product

from flashsale.reservation.keys import LaneKeys, lane_keys


def test_names_are_these():
    """A running sale's data is found under them: a change is a migration."""
    assert lane_keys("abcdefgh2345", 7) == LaneKeys(
        meta="fs:{abcdefgh2345.7}:meta",
        stock="fs:{abcdefgh2345.7}:stock",
        holds="fs:{abcdefgh2345.7}:holds",
        deadlines="fs:{abcdefgh2345.7}:deadlines",
        buyers="fs:{abcdefgh2345.7}:buyers",
        events="fs:{abcdefgh2345.7}:events",
        supplies="fs:{abcdefgh2345.7}:supplies",
    )


def test_no_two_lanes_share_a_key():
    lanes = [lane_keys(sale, lane) for sale, lane in product(("a" * 12, "b" * 12), (0, 1, 10))]
    assert len({key for keys in lanes for key in keys}) == sum(map(len, lanes))
