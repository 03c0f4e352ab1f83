"""What the streams must say: every change once, in legal steps, inside the window. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.checker_run import Broken, Entry, Lane, Line, Run, numbers

#: The letter of the record after an event, where it differs from the event's.
AFTER = {"D": "R", "M": "E"}
#: Which record an event may follow; None: there was none.
BEFORE: dict[str, tuple[str | None, ...]] = {
    "R": (None,),
    "P": ("R",),
    "D": ("P",),
    "S": ("P", "R", "X"),
    "E": ("P", "R", "X"),
    "M": ("E",),
    "X": ("R", "P"),
    "C": ("R", "P"),
    "J": ("R",),
    "F": ("S", "E"),
    "L": ("E",),
}
_RETURNS = frozenset("XCJFL")


def accounted(run: Run) -> Iterator[Broken]:
    """INV-15 and INV-9: each entry is settled, put aside, lost with a disk, or still there."""
    known = {(row["sale_id"], row["lane"]): row for row in run.rows("lanes")}
    for lane in run.lanes:
        if not lane.exists:
            continue
        row = known.get((lane.sale, lane.lane), {})
        settled, lost = numbers(row.get("settled", "")), numbers(row.get("lost", ""))
        dead = {
            int(letter["seq"])
            for letter in run.rows("dead_letters")
            if (letter["sale_id"], letter["lane"]) == (lane.sale, lane.lane)
        }
        appended = set(range(1, int(lane.meta["seq"]) + 1))
        there = {entry.seq for entry in lane.entries}
        where = {"sale": lane.sale, "lane": lane.lane}
        if missing := appended - settled - dead - lost - there:
            yield Broken("INV-15", "entries are nowhere", where | {"seq": sorted(missing)})
        if unsettled := (there & appended) - settled - dead - lost:
            yield Broken("INV-15", "entries were passed over", where | {"seq": sorted(unsettled)})
        if ahead := settled - appended:
            what = "entries were settled that Redis has not"
            yield Broken("INV-15", what, where | {"seq": sorted(ahead)})
        if lost and not run.lossy:
            yield Broken("INV-9", "entries were lost with no disk", where | {"seq": sorted(lost)})


def followed(run: Run) -> Iterator[Broken]:
    """INV-1, INV-3, INV-5, INV-11 and INV-13 on what is left of each lane's stream."""
    for lane in run.lanes:
        walk = _Walk(lane, gone=_gone(run, lane))
        for entry in lane.entries:
            yield from walk.step(entry)


def _gone(run: Run, lane: Lane) -> set[int]:
    """Entries that need not be there any more: settled, put aside, or lost with a disk."""
    gone: set[int] = set()
    for row in run.rows("lanes"):
        if (row["sale_id"], row["lane"]) == (lane.sale, lane.lane):
            gone |= numbers(row.get("settled", "")) | numbers(row.get("lost", ""))
    for row in run.rows("dead_letters"):
        if (row["sale_id"], row["lane"]) == (lane.sale, lane.lane):
            gone.add(int(row["seq"]))
    return gone


@dataclass(slots=True)
class _Walk:
    """What is known after each entry; `records` (letter, version) by order."""

    lane: Lane
    gone: set[int]
    before: Entry | None = None
    records: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: None: not known, because the entry that said so is gone.
    state: str | None = None
    window: tuple[int, int] | None = None

    def step(self, entry: Entry) -> Iterator[Broken]:
        rebuilt = any(kind == "recovered" for kind, _ in entry.sales)
        whole = self.before is not None and self.before.seq + 1 == entry.seq and not rebuilt
        yield from self._in_line(entry, rebuilt=rebuilt)
        if min(entry.available, default=0) < 0:
            evidence = self._where(entry) | {"available": entry.available}
            yield Broken("INV-1", "less than nothing was for sale", evidence)
        if not whole and self.before is not None and not rebuilt:
            # What happened in between is settled and gone: a record may have moved on since, and a
            # sale that was paused may have been resumed.
            self.records.clear()
            self.state = None
        if rebuilt:
            # What Postgres had not settled is gone, and versions are given anew.
            self.records.clear()
            self.state = None
        if whole:
            yield from self._moved(entry)
        for line in entry.lines:
            yield from self._event(entry, line)
        for kind, detail in entry.sales:
            self._told(kind, detail)
        self.before = entry

    def _where(self, entry: Entry) -> dict[str, object]:
        return {"sale": self.lane.sale, "lane": self.lane.lane, "seq": entry.seq, "id": entry.id}

    def _in_line(self, entry: Entry, *, rebuilt: bool) -> Iterator[Broken]:
        before = self.before
        if before is None:
            return
        gap = set(range(before.seq + 1, entry.seq))
        if entry.seq <= before.seq:
            what = "an entry number was given twice"
            yield Broken("INV-15", what, self._where(entry) | {"before": before.seq})
        elif gap - self.gone and not rebuilt:
            what = "an entry is missing between two others"
            yield Broken("INV-3", what, self._where(entry) | {"seq": sorted(gap)})
        if entry.epoch < before.epoch:
            evidence = self._where(entry) | {"epoch": entry.epoch, "after": before.epoch}
            yield Broken("INV-3", "a command of an epoch that had ended took effect", evidence)

    def _moved(self, entry: Entry) -> Iterator[Broken]:
        """INV-3: units for sale changed by what the entry's events say and by nothing else."""
        assert self.before is not None
        expected = list(self.before.available)
        for kind, detail in entry.sales:
            if kind == "supply":
                _, item, quantity = detail.rsplit(" ", 2)
                expected[int(item)] += int(quantity)
            elif kind == "item":
                expected.append(int(detail.split(" ")[1]))
        for line in entry.lines:
            letter = self.records.get(line.order, (None, 0))[0]
            if line.kind == "M" or (line.kind in "SE" and letter is None):
                return  # where the units came from stands in an entry that was trimmed
            if line.kind == "R":
                expected[line.item] -= line.quantity
            elif line.kind in _RETURNS:
                expected[line.item] += line.quantity
            elif line.kind in "SE" and letter == "X":
                expected[line.item] -= line.quantity
        if tuple(expected) != entry.available:
            evidence = self._where(entry) | {"expected": expected, "found": entry.available}
            yield Broken("INV-3", "stock changed by more or less than its events", evidence)

    def _event(self, entry: Entry, line: Line) -> Iterator[Broken]:
        letter, version = self.records.get(line.order, (None, 0))
        evidence = self._where(entry) | {"event": line, "record": [letter, version]}
        known = line.order in self.records
        if known and line.version <= version:
            yield Broken("INV-5", "an order's change was told twice", evidence)
        elif known and line.version == version + 1 and letter not in BEFORE[line.kind]:
            yield Broken("INV-11", "an order took a step that is not legal", evidence)
        elif known and line.version > version + 1:
            yield Broken("INV-3", "an order changed without an event", evidence)
        elif not known and (line.kind == "R") != (line.version == 1):
            yield Broken("INV-11", "an order begins otherwise than with its hold", evidence)
        self.records[line.order] = AFTER.get(line.kind, line.kind), line.version
        if line.kind == "X" and entry.at_ms < line.deadline_ms:
            yield Broken("INV-5", "a hold ran out before its time", evidence)
        if line.kind == "R":
            yield from self._admitted(entry, line)

    def _admitted(self, entry: Entry, line: Line) -> Iterator[Broken]:
        """INV-13, by Redis' own clock as the entry tells it."""
        evidence = self._where(entry) | {"at_ms": entry.at_ms, "order": line.order}
        if self.state in {"paused", "closed"}:
            yield Broken("INV-13", f"accepted while {self.state}", evidence)
        if self.window is not None and not self.window[0] <= entry.at_ms < self.window[1]:
            yield Broken("INV-13", "accepted outside of the window", evidence | {"is": self.window})

    def _told(self, kind: str, detail: str) -> None:
        if kind == "open":
            starts, _, ends = detail.partition("-")
            self.window = int(starts), int(ends)
            self.state = self.state or "open"
        elif kind in {"pause", "close"}:
            self.state = {"pause": "paused", "close": "closed"}[kind]
        elif kind == "resume":
            self.state = "open"
