"""Every key name of the engine, in one place; nothing else may build one.

All keys of a lane share the hash tag `{<sale>.<lane>}` and therefore a Redis Cluster slot: one
script may touch them all. `lua/README.md` has the same table with types and fields. Rate limits
have keys of their own, which expire by themselves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

#: The consumer group that settles every lane's stream.
SETTLEMENT_GROUP = "settlement"


class LaneKeys(NamedTuple):
    """The keys of one lane, in the order in which scripts name them."""

    meta: str
    stock: str
    holds: str
    deadlines: str
    buyers: str
    events: str
    supplies: str


@lru_cache(maxsize=4096)
def lane_keys(sale: str, lane: int) -> LaneKeys:
    """The keys of a sale's lane."""
    tag = f"fs:{{{sale}.{lane}}}:"
    return LaneKeys(*(tag + name for name in LaneKeys._fields))


def limit_key(limit: str, subject: str) -> str:
    """The common pot of one subject of a rate limit; all of them share a slot of their own."""
    return f"fs:{{limits}}:{limit}:{subject}"
