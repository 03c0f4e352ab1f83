"""What the answers were and how long they took, in bounded memory. Never decides anything."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

_SUB_BUCKETS_BITS = 6  # 64 steps within each power of two: a value is off by at most 1.6 %
_SUB_BUCKETS = 1 << _SUB_BUCKETS_BITS


class Histogram:
    """Microseconds in buckets that widen with the value, as in HdrHistogram."""

    __slots__ = ("_buckets", "count", "largest")

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.largest = 0

    def add(self, values: Iterable[int]) -> None:
        """Take in some values, each a non-negative number of microseconds."""
        for value in values:
            self._buckets[_bucket(value)] += 1
            self.count += 1
            self.largest = max(self.largest, value)

    def percentile(self, share: float) -> int:
        """The value that `share` (0 to 1) of all do not exceed; 0 where there are none."""
        wanted = share * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_upper_bound(bucket), self.largest)
        return 0

    def summary(self) -> dict[str, float]:
        """Count and percentiles, in milliseconds."""
        shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
        found = {name: self.percentile(share) / 1000 for name, share in shares.items()}
        return {"count": self.count, **found, "max_ms": self.largest / 1000}


def _bucket(value: int) -> int:
    shift = max(value.bit_length() - _SUB_BUCKETS_BITS - 1, 0)
    return (shift << _SUB_BUCKETS_BITS) + (value >> shift)


def _upper_bound(bucket: int) -> int:
    if bucket < 2 * _SUB_BUCKETS:
        return bucket
    shift = (bucket >> _SUB_BUCKETS_BITS) - 1
    return ((bucket - (shift << _SUB_BUCKETS_BITS) + 1) << shift) - 1


class Tally:
    """Counts by kind of visit and outcome; latencies by kind, kept exactly within one window."""

    def __init__(self) -> None:
        self.totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.histograms: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._latencies: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))

    def record(self, kind: str, outcome: str, seconds: float) -> None:
        """One answer."""
        self._counts[kind, outcome] += 1
        self._latencies[kind].append(int(seconds * 1e6))

    def roll(self) -> dict[str, Any]:
        """End the window: what was counted in it, with the latency of orders, for a time line."""
        counts: dict[str, dict[str, int]] = {}
        for (kind, outcome), count in self._counts.items():
            counts.setdefault(kind, {})[outcome] = count
            self.totals[kind][outcome] += count
        orders = Histogram()
        for kind, values in self._latencies.items():
            self.histograms[kind].add(values)
            if kind == "order":
                orders.add(values)
        self._counts.clear()
        self._latencies.clear()
        return {"counts": counts, "order_latency": orders.summary()}

    def latency(self) -> Mapping[str, Mapping[str, float]]:
        """Summaries of all ended windows, by kind of visit."""
        return {kind: found.summary() for kind, found in self.histograms.items()}
