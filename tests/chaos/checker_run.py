"""A recorded run as values. It knows the formats of the files and nothing else of the engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

SALE_ID_LENGTH = 12
#: Faults after which a disk has forgotten what was answered.
_LOSSY = re.compile(r"tail|cut|empty|old_aof|in_recovery|amnesia|flushall|lossy", re.IGNORECASE)
_CLOCK = re.compile(r"clock|time", re.IGNORECASE)
_RANGE = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*\)")
_ORDER_KINDS = frozenset("RPDSEMXCJFL")


class Broken(NamedTuple):
    """An invariant that does not hold, in words, with what shows it."""

    invariant: str
    what: str
    evidence: Any


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a client; `ok` None: nobody knows whether it took effect, or when."""

    client: int
    op: str
    invoked: int
    returned: int
    ok: bool | None
    buyer: str = ""
    key: str | None = None
    order: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    code: str | None = None
    state: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(row: Mapping[str, Any]) -> Op:
        """One line of `history.jsonl`; fields that this version does not know are left out."""
        known = {name: row[name] for name in Op.__slots__ if row.get(name) is not None}
        return Op(**({"client": -1, "ok": None, "returned": row["invoked"]} | known))


class Hold(NamedTuple):
    """A record of Redis."""

    letter: str
    version: int
    item: int
    quantity: int
    deadline_ms: int
    buyer: str


class Line(NamedTuple):
    """An order's event."""

    kind: str
    version: int
    order: str
    item: int
    quantity: int
    deadline_ms: int
    buyer: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A stream entry; `sales` are (kind, detail)."""

    id: str
    seq: int
    epoch: int
    at_ms: int
    available: tuple[int, ...]
    lines: tuple[Line, ...]
    sales: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """What one lane looked like at the end. `entries` leaves out what nobody can read."""

    sale: str
    lane: int
    meta: Mapping[str, str]
    stock: Mapping[str, int]
    holds: Mapping[str, Hold]
    deadlines: Mapping[str, float]
    buyers: Mapping[str, int]
    entries: tuple[Entry, ...]
    pending: int
    lag: int

    @property
    def exists(self) -> bool:
        """Whether Redis had it: a finished sale's lanes are removed."""
        return bool(self.meta)


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a run left."""

    facts: Mapping[str, Any]
    ops: tuple[Op, ...]
    lanes: tuple[Lane, ...]
    postgres: Mapping[str, list[dict[str, Any]]]
    provider: tuple[Mapping[str, Any], ...]
    sometimes: Mapping[str, int]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table; none where it was not dumped."""
        return self.postgres.get(table) or []

    @property
    def orders(self) -> dict[str, dict[str, Any]]:
        """Postgres' orders by id."""
        return {row["id"]: row for row in self.rows("orders")}

    def _lossy_faults(self) -> list[Mapping[str, Any]]:
        return [
            fault
            for fault in self.facts.get("schedule") or []
            if fault.get("lossy") or ("lossy" not in fault and _LOSSY.search(fault["fault"]))
        ]

    def losses(self) -> list[tuple[int, int]]:
        """From when to when each disk was made to forget; nothing is lost in a run without one."""
        faults = self._lossy_faults()
        return sorted(
            (int(fault["at_ms"]), int(fault.get("done_ms") or fault["at_ms"])) for fault in faults
        )

    def forgot_until_ms(self) -> int:
        """When the last disk had been put back; 0 where none was."""
        return max((done for _, done in self.losses()), default=0)

    @property
    def lossy(self) -> bool:
        """Whether answered reservations may be gone."""
        return bool(self.losses())

    @property
    def clocks_moved(self) -> bool:
        """Whether clients and servers may disagree about the time of day."""
        return any(_CLOCK.search(fault["fault"]) for fault in self.facts.get("schedule") or [])

    def held(self) -> dict[str, Hold]:
        """Every record of Redis by the order's full id."""
        return {
            lane.sale + order: hold for lane in self.lanes for order, hold in lane.holds.items()
        }

    def dead_orders(self) -> set[str]:
        """Orders that a dead letter names: the stores differ about them until a person looks."""
        found: set[str] = set()
        for letter in self.rows("dead_letters"):
            fields = letter["fields"]
            fields = json.loads(fields) if isinstance(fields, str) else fields
            for line in _order_lines(str(fields.get("events", ""))):
                found.add(letter["sale_id"] + line.order)
        return found


def to_ms(value: Any) -> int:
    """An instant of a dump as Unix milliseconds."""
    if isinstance(value, int | float):
        return int(value)
    return int(datetime.fromisoformat(str(value)).timestamp() * 1000)


def numbers(ranges: Any) -> set[int]:
    """The members of a multirange, however it was written down."""
    text = ranges if isinstance(ranges, str) else json.dumps(ranges)
    return {n for low, high in _RANGE.findall(text) for n in range(int(low), int(high))}


def parse_hold(record: str) -> Hold:
    """`letter:version:item:quantity:deadline_ms:buyer`."""
    letter, version, item, quantity, deadline_ms, buyer = record.split(":", 5)
    return Hold(letter, int(version), int(item), int(quantity), int(deadline_ms), buyer)


def parse_entry(entry_id: str, fields: Mapping[str, str]) -> Entry | None:
    """An entry, or None for one that no script wrote."""
    try:
        text = fields["events"].split("\n")
        lines = _order_lines(fields["events"])
        others = [line.split("\t") for line in text if line.split("\t")[0] not in _ORDER_KINDS]
        return Entry(
            entry_id,
            int(fields["seq"]),
            int(fields["epoch"]),
            int(fields["at_ms"]),
            tuple(int(each) for each in fields["available"].split(",")),
            tuple(lines),
            tuple((kind, detail) for kind, detail in others),
        )
    except (KeyError, ValueError, AttributeError):
        return None


def _order_lines(text: str) -> list[Line]:
    lines = []
    for line in text.split("\n"):
        if line.split("\t")[0] in _ORDER_KINDS:
            kind, version, order, item, quantity, deadline_ms, buyer = line.split("\t", 6)
            numbers_ = (int(item), int(quantity), int(deadline_ms))
            lines.append(Line(kind, int(version), order, *numbers_, buyer))
    return lines


def _lane(row: Mapping[str, Any], tail: Iterable[Entry]) -> Lane:
    """A lane; `tail` are entries that were copied while they were there."""
    stream = row.get("stream") or {}
    groups = stream.get("groups") or []
    settling = [group for group in groups if group.get("name") == "settlement"]
    read = (_entry(each) for each in stream.get("entries") or [])
    return Lane(
        row["sale"],
        int(row["lane"]),
        row.get("meta") or {},
        {name: int(value) for name, value in (row.get("stock") or {}).items()},
        {order: parse_hold(record) for order, record in (row.get("holds") or {}).items()},
        {order: float(score) for order, score in (row.get("deadlines") or {}).items()},
        {buyer: int(count) for buyer, count in (row.get("buyers") or {}).items()},
        _in_order([*tail, *(entry for entry in read if entry is not None)]),
        sum(int(group.get("pending") or 0) for group in settling),
        sum(int(group.get("lag") or 0) for group in settling),
    )


def _in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Each entry once, as the stream has them: its ids compare as pairs of numbers."""
    by_id = {entry.id: entry for entry in entries}
    return tuple(sorted(by_id.values(), key=lambda each: [int(n) for n in each.id.split("-")]))


def _tails(folder: Path, since_ms: int) -> dict[str, list[Entry]]:
    """Copied entries by their stream's key, those that were seen after an instant."""
    found: dict[str, list[Entry]] = {}
    path = folder / "entries.jsonl"
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        row = json.loads(line)
        if row["seen_ms"] >= since_ms and (entry := _entry(row)):
            found.setdefault(row["key"], []).append(entry)
    return found


def _entry(row: Any) -> Entry | None:
    if isinstance(row, Mapping):
        return parse_entry(row["id"], row["fields"])
    return parse_entry(row[0], row[1])


def load(folder: Path) -> Run:
    """A run's folder. Raises OSError and ValueError where it is not one."""

    def read(name: str, default: Any) -> Any:
        path = folder / name
        return json.loads(path.read_text("utf-8")) if path.exists() else default

    text = (folder / "history.jsonl").read_text("utf-8")
    run = Run(
        read("run.json", {}),
        tuple(Op.read(json.loads(line)) for line in text.splitlines() if line),
        (),
        read("postgres.json", {}),
        tuple(read("provider.json", [])),
        read("sometimes.json", {}),
    )
    # Where a disk was lost, entries were copied that never came to be, and their numbers are
    # given again: only what was seen afterwards can be believed.
    tails = _tails(folder, run.forgot_until_ms())
    lanes = tuple(_lane(row, _of_lane(tails, row)) for row in read("redis.json", []))
    return replace(run, lanes=lanes)


def _of_lane(tails: Mapping[str, list[Entry]], row: Mapping[str, Any]) -> list[Entry]:
    tag = f"{{{row['sale']}.{row['lane']}}}"
    return [entry for key, entries in tails.items() if tag in key for entry in entries]
