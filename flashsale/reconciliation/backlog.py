"""What a lane's stream holds that Postgres has not settled: read ahead, judged later. No writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from flashsale.domain.events import Entry
from flashsale.reconciliation.queries import LaneLedger
from flashsale.reconciliation.ranges import covers
from flashsale.reservation.inspector import LaneInspector, RawEntry
from flashsale.stream.codec import PoisonEntryError, decode

#: Entries in one read; each holds the events of one script call.
_PAGE = 200


@dataclass(slots=True)
class Backlog:
    """One lane's unsettled entries by number, gathered in as many reads as it takes.

    `entries` has None for an entry whose number can be read and whose events cannot. `unreadable`
    are the ids of those of which not even that can be said; `repeated` counts numbers seen twice.
    """

    inspector: LaneInspector
    sale: str
    lane: int
    settled_before: LaneLedger
    entries: dict[int, Entry | None] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    repeated: int = 0
    newest: tuple[int, RawEntry] | None = None
    _next: str = ""

    def __post_init__(self) -> None:
        """Begin at the newest settled entry where all before it are settled too."""
        settled, last_entry_id = self.settled_before
        whole = len(settled) == 1 and settled[0][0] == 1
        self._next = last_entry_id if whole else "-"

    async def read_on(self) -> None:
        """Read from where the last call stopped to the end of the stream."""
        while page := await self.inspector.entries(self.sale, self.lane, self._next, _PAGE):
            for raw in page:
                self._take(raw)
            self._next = f"({page[-1].entry_id}"
            if len(page) < _PAGE:
                return

    def _take(self, raw: RawEntry) -> None:
        seq = _seq(raw)
        if seq is None:
            self.unreadable.append(raw.entry_id)
            return
        if self.newest is None or seq > self.newest[0]:
            self.newest = seq, raw
        elif seq == self.newest[0] or seq in self.entries:
            self.repeated += 1
        if not covers(self.settled_before.settled, seq):
            self.entries.setdefault(seq, entry_of(raw.entry_id, raw.fields))

    def available(self, seq: int) -> tuple[int, ...] | None:
        """What entry `seq` said is left of each item; None where it is not the newest one."""
        if self.newest is None or self.newest[0] != seq:
            return None
        entry = entry_of(*self.newest[1])
        return entry.available if entry else None


def entry_of(entry_id: str, fields: dict[str, str]) -> Entry | None:
    """The entry decoded, None where it cannot be."""
    try:
        return decode(entry_id, fields)
    except PoisonEntryError:
        return None


def _seq(raw: RawEntry) -> int | None:
    text = raw.fields.get("seq", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
