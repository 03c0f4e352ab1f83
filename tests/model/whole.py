"""A sale as all its lanes together: each is a Shadow that knows nothing of the others."""

from __future__ import annotations

from dataclasses import dataclass

from flashsale.domain.lanes import lane_of
from tests.model.shadow import Order, Shadow


@dataclass
class Whole:
    """`lanes` decide as long as there are any; then `rest` does, with all that they had."""

    lanes: list[Shadow]
    rest: Shadow | None = None

    @staticmethod
    def of(kind: str, capacity: list[int], limit: int, lanes: int) -> Whole:
        """A sale that has just opened: earlier lanes have the units that cannot be shared."""
        shares = [
            [(units + lanes - 1 - lane) // lanes for units in capacity] for lane in range(lanes)
        ]
        return Whole([Shadow(kind, share, limit) for share in shares])

    @property
    def deciding(self) -> list[Shadow]:
        return [self.rest] if self.rest else self.lanes

    @property
    def retired(self) -> bool:
        return self.rest is not None

    @property
    def orders(self) -> dict[str, Order]:
        return {name: order for lane in self.deciding for name, order in lane.orders.items()}

    @property
    def ledger(self) -> dict[str, Order]:
        return {name: order for lane in self.deciding for name, order in lane.ledger.items()}

    @property
    def items(self) -> int:
        """How many the lane with the most of them has."""
        return max(len(lane.capacity) for lane in self.deciding)

    def lane_of(self, buyer: str) -> Shadow:
        return self.deciding[lane_of(buyer, len(self.deciding))]

    def available(self, item: int) -> int:
        return sum(lane.available(item) for lane in self.deciding if item < len(lane.capacity))

    def unsettled(self) -> bool:
        return any(lane.unsettled() for lane in self.lanes)

    def retire(self) -> None:
        """The lanes are gone, and nothing of them was left to be settled."""
        first, items = self.lanes[0], range(self.items)
        capacity = [sum(lane.capacity[at] for lane in self.lanes) for at in items]
        self.rest = Shadow(first.kind, capacity, first.limit, first.state, retired=True)
        for lane in self.lanes:
            self.rest.orders |= lane.orders
            self.rest.ledger |= lane.ledger
