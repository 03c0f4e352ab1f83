"""Stock arithmetic of one SKU: five counters that always balance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

#: Units of one SKU in one sale; a bound that keeps every sum far below 2**53.
SUPPLY_MAX = 1_000_000_000


class Availability(StrEnum):
    """What the public is told of a SKU."""

    AVAILABLE = "available"
    LOW = "low"
    SOLD_OUT = "sold_out"


@dataclass(frozen=True, slots=True)
class Stock:
    """Units of one SKU. INV-1: available + held + paying + sold = capacity, none negative."""

    capacity: int
    available: int
    held: int = 0
    paying: int = 0
    sold: int = 0

    def balances(self) -> bool:
        """Whether INV-1 holds."""
        counters = (self.available, self.held, self.paying, self.sold)
        return min(counters) >= 0 and sum(counters) == self.capacity

    def hold(self, quantity: int) -> Stock | None:
        """Set units aside for a buyer; None where too few are available."""
        if quantity < 1 or quantity > self.available:
            return None
        return replace(self, available=self.available - quantity, held=self.held + quantity)

    def give_back(self, quantity: int) -> Stock:
        """Return held units to sale."""
        return replace(self, available=self.available + quantity, held=self.held - quantity)

    def supply(self, quantity: int) -> Stock | None:
        """Add units, or take unsold ones back (negative); None where too few remain."""
        available, capacity = self.available + quantity, self.capacity + quantity
        if available < 0 or capacity > SUPPLY_MAX:
            return None
        return replace(self, available=available, capacity=capacity)


def availability(available: int, capacity: int, low_fraction: float = 0.1) -> Availability:
    """What to show: exact counts stay private unless the sale publishes them."""
    if available <= 0:
        return Availability.SOLD_OUT
    return Availability.LOW if available <= capacity * low_fraction else Availability.AVAILABLE
