"""Entry numbers as sorted half-open ranges, the way Postgres keeps the settled ones. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

#: Sorted, disjoint (low, high): low is in, high is out.
Ranges = Sequence[tuple[int, int]]


def covers(ranges: Ranges, number: int) -> bool:
    """Whether a number is in one of the ranges."""
    at = bisect_right(ranges, number, key=lambda bounds: bounds[0])
    return at > 0 and number < ranges[at - 1][1]


def size(ranges: Ranges) -> int:
    """How many numbers are in the ranges."""
    return sum(high - low for low, high in ranges)


def uncovered(ranges: Ranges, last: int) -> Iterator[int]:
    """The numbers from 1 to `last` that are in none of the ranges."""
    start = 1
    for low, high in ranges:
        yield from range(start, min(low, last + 1))
        start = max(start, high)
    yield from range(start, last + 1)
