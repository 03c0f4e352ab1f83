"""What a sale has taken in money, as its payments have it. Never asks a provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from flashsale.domain.orders import LIVE_STATES, OrderState
from flashsale.sales.queries import Pool
from flashsale.sql import load_queries

_SQL = load_queries(Path(__file__).with_name("takings.sql"))


@dataclass(frozen=True, slots=True)
class Flow:
    """Money in minor units. `refunding` is on its way back; fees are the provider's, aside."""

    captured: int = 0
    refunding: int = 0
    refunded: int = 0
    fees: int = 0

    @property
    def net(self) -> int:
        """What came in and was not paid back; what is on its way back is still in it."""
        return self.captured - self.refunded


_NOTHING = Flow()


@dataclass(frozen=True, slots=True)
class Takings:
    """`due` is what live orders have still to pay; `deposits` and `balances` are part of `all`."""

    due: int = 0
    all: Flow = _NOTHING
    deposits: Flow = _NOTHING
    balances: Flow = _NOTHING


@dataclass(frozen=True, slots=True)
class Unexplained:
    """Events of the provider that belong to the sale and whose money is in no order."""

    quarantined: int
    unmatched: int


#: By (item, state of the order).
TakingsByPlace = Mapping[tuple[int, OrderState], Takings]


def total(parts: Iterable[Takings]) -> Takings:
    """Several places together."""
    several = list(parts)
    return Takings(
        sum(part.due for part in several),
        _sum(part.all for part in several),
        _sum(part.deposits for part in several),
        _sum(part.balances for part in several),
    )


def _sum(parts: Iterable[Flow]) -> Flow:
    return Flow(*map(sum, zip(*map(astuple, (_NOTHING, *parts)), strict=True)))


async def takings_of_sale(pool: Pool, sale: str) -> TakingsByPlace:
    """Takings by item and state; a place without any is left out."""
    parts: defaultdict[tuple[int, OrderState], dict[str, Flow]] = defaultdict(dict)
    for row in await pool.fetch(_SQL["takings"], sale):
        place = row["item"], OrderState(row["state"])
        parts[place][row["purpose"]] = Flow(
            row["captured"], row["refunding"], row["refunded"], row["fees"]
        )
    due = {
        (row["item"], OrderState(row["state"])): row["due"]
        for row in await pool.fetch(_SQL["due"], sale, sorted(LIVE_STATES))
    }
    return {
        place: Takings(
            due.get(place, 0),
            _sum(parts[place].values()),
            parts[place].get("deposit", _NOTHING),
            parts[place].get("balance", _NOTHING),
        )
        for place in due.keys() | set(parts)
    }


async def unexplained(pool: Pool, sale: str) -> Unexplained:
    """How many of a sale's events an operator has to look at."""
    row = await pool.fetchrow(_SQL["unexplained"], sale)
    assert row is not None
    return Unexplained(*row)
