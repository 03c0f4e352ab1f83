"""Lanes: how one sale is split into independent parts, each one Redis slot."""

from __future__ import annotations

from zlib import crc32

LANES_MAX = 64


def lane_of(buyer: str, lanes: int) -> int:
    """The lane a buyer belongs to, for the whole life of a sale."""
    return crc32(buyer.encode()) % lanes if lanes > 1 else 0


def split(quantity: int, lanes: int) -> tuple[int, ...]:
    """Shares of a quantity, one a lane, that sum to it and differ by at most one unit."""
    share, rest = divmod(abs(quantity), lanes)
    sign = 1 if quantity >= 0 else -1
    return tuple(sign * (share + (lane < rest)) for lane in range(lanes))
