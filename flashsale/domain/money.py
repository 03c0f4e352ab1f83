"""Money: integer minor units with an ISO 4217 code."""

from __future__ import annotations

from typing import NamedTuple

#: The largest amount a JSON number carries exactly (2**53 - 1).
AMOUNT_MAX = 9_007_199_254_740_991


class Money(NamedTuple):
    """An amount in minor units, for instance 149900 fen."""

    amount: int
    currency: str

    def times(self, quantity: int) -> Money:
        """The price of several units."""
        return Money(self.amount * quantity, self.currency)
