"""Dead letters: entries that could not be settled, listed, settled again once mended, dismissed.

A letter is settled as it would have been from its stream, and goes only once it is: whoever is
killed in between settles it twice, which is settling it once (INV-6).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from flashsale.domain.events import EventKind, OrderEvent
from flashsale.settlement.queries import SQL, Connection, Pool
from flashsale.settlement.settler import Settler
from flashsale.stream.codec import PoisonEntryError, decode
from flashsale.stream.reader import Delivery

#: Told of an order that Postgres has no room for: sale, lane, order hash, buyer.
GiveBack = Callable[[str, int, str, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry put aside; `seq` 0 where not even its number could be read."""

    sale_id: str
    lane: int
    seq: int
    entry_id: str
    fields: dict[str, str]
    error: str
    created_at: datetime


class Replayed(NamedTuple):
    """What became of a letter: `error` None where it is settled and gone, else why it stays.

    `rows` are orders that were written or changed, `rejected` those for which there was no room.
    """

    letter: DeadLetter
    error: str | None = None
    rows: int = 0
    rejected: int = 0


async def dead_letters(
    database: Pool | Connection, sale_id: str | None = None, entry_id: str | None = None
) -> list[DeadLetter]:
    """Letters in the order of their streams: all, those of a sale, or one entry of it."""
    rows = await database.fetch(SQL["dead_letters"], sale_id, entry_id)
    return [DeadLetter(**{**row, "fields": json.loads(row["fields"])}) for row in rows]


async def replay(pool: Pool, letter: DeadLetter, give_back: GiveBack) -> Replayed:
    """Settle a letter again. Raises what `Settler.settle` calls an outage; then repeat it."""
    try:
        entry = decode(letter.entry_id, letter.fields)
    except PoisonEntryError as error:
        return Replayed(letter, f"it cannot be read: {error}")
    settler = Settler(pool)
    raw = {name.encode(): text.encode() for name, text in letter.fields.items()}
    settled = await settler.settle(
        await settler.catalogue(letter.sale_id),
        letter.lane,
        Delivery(entries=[entry], raw={letter.entry_id: raw}),
    )
    if settled.dead_letters:
        return Replayed(letter, settled.dead_letters[0].error)
    if settled.drained:
        return Replayed(
            letter, "the sale was rebuilt without it, its units are on sale again: dismiss it"
        )
    for event in settled.rejected:
        await _give_back(letter, event, give_back)
    where = (letter.sale_id, letter.lane, letter.entry_id)
    await pool.execute(SQL["remove_dead_letter"], *where)
    return Replayed(letter, None, settled.rows, len(settled.rejected))


async def dismiss(pool: Pool, letter: DeadLetter, because: str) -> bool:
    """Remove a letter for good, where its units are free; False: they may be held still.

    They are free once the sale was rebuilt without it, or has no lanes any more. Its number counts
    as lost then, its buyers are told that their reservations are, and the merchant's audit log has
    what was removed and why.
    """
    try:
        epoch = decode(letter.entry_id, letter.fields).epoch
    except PoisonEntryError:
        epoch = None
    where = (letter.sale_id, letter.lane, letter.entry_id)
    return await pool.fetchval(SQL["dismiss_dead_letter"], *where, epoch, because) is not None


async def _give_back(letter: DeadLetter, event: OrderEvent, give_back: GiveBack) -> None:
    if event.kind is EventKind.RESERVED:
        await give_back(letter.sale_id, letter.lane, event.order, event.buyer)
