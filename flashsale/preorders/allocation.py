"""Who is served by a lot, and which part of the cap an order is in. Pure; never skips anybody.

First come, first served, strictly: the first order that does not fit ends the round, and what is
left waits for more supply. Somebody behind it may want fewer units; to serve them would make a
large order wait for as long as small ones keep coming.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class LotRoom(NamedTuple):
    """Units of a lot that no order has."""

    lot: str
    free: int


class Waiting(NamedTuple):
    """An order in its queue."""

    order: str
    quantity: int


class Share(NamedTuple):
    """Units of one lot for one order."""

    lot: str
    order: str
    quantity: int


class WaveRoom(NamedTuple):
    """A part of the cap: how many units it has, and how many of them are promised."""

    wave: str
    units: int
    promised: int


def allocate(lots: Iterable[LotRoom], queue: Iterable[Waiting]) -> list[Share]:
    """Shares for the longest prefix of `queue` that the lots serve whole.

    Lots are used up in their order; an order may draw on several. Quantities are positive.
    """
    left = [lot for lot in lots if lot.free > 0]
    room = sum(lot.free for lot in left)
    shares: list[Share] = []
    first = 0
    for order, quantity in queue:
        if quantity > room:
            break
        room -= quantity
        wanted = quantity
        while wanted:
            lot, free = left[first]
            taken = min(wanted, free)
            shares.append(Share(lot, order, taken))
            wanted -= taken
            left[first] = LotRoom(lot, free - taken)
            first += taken == free
    return shares


def wave_of(waves: Sequence[WaveRoom], quantity: int) -> str:
    """The first part of the cap with room for all units of an order; the last where none has.

    `waves`: the base supply first, then the waves in the order of their supply; not empty.
    """
    for wave in waves:
        if wave.promised + quantity <= wave.units:
            return wave.wave
    return waves[-1].wave
