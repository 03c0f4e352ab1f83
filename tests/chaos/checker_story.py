"""A small run in which nothing is wrong, as a runner records it; tests then spoil it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.checker_run import Run, load

SALE = "abcdefghijkl"
BEGUN = 1_000_000_000_000
CAPACITY, LIMIT, PRICE, HOLD_MS = 6, 2, 100, 3_000
_STATES = {"R": "confirmed", "P": "paying", "S": "paid", "X": "expired", "C": "cancelled"}
_STATES |= {"F": "refunded"}
_HOMES = {"R": "held", "P": "paying", "S": "sold"}


def iso(at_ms: int) -> str:
    """An instant as Postgres' JSON has it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def order_id(name: str) -> str:
    """An order's full id."""
    return SALE + name.ljust(20, "0")


@dataclass
class Story:
    """The files of a run. `records` are (letter, version, quantity, end of the hold, buyer)."""

    facts: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    records: dict[str, list[Any]] = field(default_factory=dict)
    decided: dict[str, int] = field(default_factory=dict)
    provider: list[dict[str, Any]] = field(default_factory=list)
    redis: list[dict[str, Any]] = field(default_factory=list)
    postgres: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    available: int = CAPACITY

    def entry(self, events: list[str], at_ms: int) -> None:
        """Append an entry."""
        seq = len(self.entries) + 1
        fields = {"seq": seq, "epoch": 1, "at_ms": BEGUN + at_ms, "available": self.available}
        told = {name: str(value) for name, value in fields.items()} | {"events": "\n".join(events)}
        self.entries.append({"id": f"{BEGUN + at_ms}-{seq}", "fields": told})

    def reserve(self, name: str, buyer: str, quantity: int, at_ms: int) -> None:
        """Redis sets units aside."""
        self.records[name] = ["-", 0, quantity, BEGUN + at_ms + HOLD_MS, buyer]
        self.event("R", name, at_ms)

    def event(self, kind: str, name: str, at_ms: int) -> None:
        """An order changes in Redis, and Postgres settles it."""
        letter, version, quantity, end, buyer = self.records[name]
        self.available += quantity * ((letter in _HOMES) - (kind in _HOMES))
        self.records[name] = [kind, version + 1, quantity, end, buyer]
        self.decided[name] = BEGUN + at_ms
        order = order_id(name)[len(SALE) :]
        line = [kind, version + 1, order, 0, quantity, end, buyer]
        self.entry(["\t".join(map(str, line))], at_ms)

    def op(
        self, op: str, buyer: str, at_ms: int, *, state: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """A client's operation, answered ten milliseconds later; `more` are fields of its line."""
        line: dict[str, Any] = {"client": 1, "op": op, "buyer": buyer, "state": state}
        line |= {"invoked": BEGUN + at_ms, "returned": BEGUN + at_ms + 10, "ok": True}
        line |= {"key": None, "order": None, "args": {}, "status": 200, "code": None, "body": {}}
        if op == "reserve":
            line["args"] = {"sku": "phone", "quantity": more.pop("quantity", 1), "sale": SALE}
        self.history.append(line | more)
        return self.history[-1]

    def won(self, name: str, buyer: str, at_ms: int, quantity: int = 1) -> dict[str, Any]:
        """A reservation that is answered yes, with its event."""
        self.reserve(name, buyer, quantity, at_ms + 5)
        body = {
            "id": order_id(name),
            "quantity": quantity,
            "sku": "phone",
            "hold_expires_at": iso(BEGUN + at_ms + 5 + HOLD_MS),
            "amount_due": {"amount": quantity * PRICE, "currency": "CNY"},
        }
        more = {"order": order_id(name), "key": f"key-{name}", "quantity": quantity, "body": body}
        return self.op("reserve", buyer, at_ms, state="reserved", **more)

    def money(self, kind: str, name: str, amount: int) -> None:
        """A line of the provider's statement."""
        line = {"event_id": f"evt-{len(self.provider)}", "kind": kind, "amount": amount}
        self.provider.append(line | {"payment_id": f"pay-{name}", "currency": "CNY", "fee": 0})

    def close(self) -> Story:
        """What both stores hold at the end."""
        counters = {"capacity:0": CAPACITY, "available:0": self.available}
        counters |= {f"{home}:0": 0 for home in _HOMES.values()}
        buyers: dict[str, int] = {}
        for letter, _, quantity, _, buyer in self.records.values():
            buyers[buyer] = buyers.get(buyer, 0) + quantity * (letter in _HOMES)
            if letter in _HOMES:
                counters[f"{_HOMES[letter]}:0"] += quantity
        holds = {
            order_id(name)[len(SALE) :]: f"{each[0]}:{each[1]}:0:{each[2]}:{each[3]}:{each[4]}"
            for name, each in self.records.items()
        }
        meta = {"epoch": "1", "state": "open", "buyer_limit": str(LIMIT), "items": "1"}
        meta |= {"seq": str(len(self.entries))}
        group = {"name": "settlement", "pending": 0, "lag": 0}
        stream = {"groups": [group], "entries": self.entries}
        stores = {"holds": holds, "deadlines": {}, "buyers": buyers, "stream": stream}
        self.redis = [{"sale": SALE, "lane": 0, "meta": meta, "stock": counters} | stores]
        self.postgres = self._postgres(sum(buyers.values()))
        self.facts = {"sales": [SALE], "units": {"phone": CAPACITY}, "buyer_limit": LIMIT}
        self.facts |= {
            "merchant": "acme",
            "started_ms": BEGUN,
            "ended_ms": BEGUN + 60_000,
            "schedule": [],
        }
        return self

    def _postgres(self, live: int) -> dict[str, list[dict[str, Any]]]:
        orders = [
            {"id": order_id(name), "sale_id": SALE, "item": 0, "buyer_id": buyer}
            | {"quantity": quantity, "unit_amount": PRICE, "state": _STATES[letter]}
            | {"version": version, "hold_expires_at": iso(end), "closing": None}
            | {"decided_at": iso(self.decided[name])}
            for name, (letter, version, quantity, end, buyer) in self.records.items()
        ]
        payments: dict[str, dict[str, Any]] = {}
        for line in self.provider:
            name = line["payment_id"].removeprefix("pay-")
            row = {"id": f"pay-{name}", "order_id": order_id(name), "purpose": "full"}
            row |= {"provider_ref": f"sbx-{name}", "captured": 0, "refunded": 0, "counts": True}
            row |= {"state": "captured", "applied_at": iso(BEGUN + 9_000)}
            payments.setdefault(name, row)[line["kind"]] += line["amount"]
        ledger = [line | {"state": "applied", "provider": "sandbox"} for line in self.provider]
        item = {"sale_id": SALE, "item": 0, "sku": "phone", "capacity": CAPACITY, "live": live}
        settled = f"{{[1,{len(self.entries) + 1})}}"
        lane = {"sale_id": SALE, "lane": 0, "settled": settled, "lost": "{}"}
        empty: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("dead_letters", "refunds", "recoveries")
        }
        empty |= self._log()
        return empty | {
            "orders": orders,
            "payments": list(payments.values()),
            "ledger_entries": ledger,
            "sale_items": [item],
            "sales": [{"id": SALE, "state": "open"}],
            "supplies": [],
            "lanes": [lane],
        }

    def _log(self) -> dict[str, list[dict[str, Any]]]:
        """An audit log in which one supply after the other was asked for."""
        rows: list[dict[str, Any]] = []
        last = "0" * 64
        for number, supply in enumerate(("sup_first", "sup_second", "sup_third"), start=1):
            told = {
                "merchant_id": "acme",
                "seq": number,
                "previous": last,
                "detail": {"id": supply},
            }
            entry = json.dumps(told)
            last = hashlib.sha256(entry.encode()).hexdigest()
            rows.append({"merchant_id": "acme", "seq": number, "entry": entry, "hash": last})
        head = {"merchant_id": "acme", "seq": len(rows), "hash": last}
        return {"audit_log": rows, "audit_heads": [head]}

    def run(self, folder: Path) -> Run:
        """Written down and read again."""
        files = {"run": self.facts, "redis": self.redis, "postgres": self.postgres}
        files |= {"provider": self.provider, "sometimes": {}}
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        lines = "".join(json.dumps(line) + "\n" for line in self.history)
        (folder / "history.jsonl").write_text(lines)
        return load(folder)

    # What tests spoil.

    @property
    def lane(self) -> dict[str, Any]:
        """The lane in Redis."""
        return self.redis[0]

    def row(self, name: str) -> dict[str, Any]:
        """An order in Postgres."""
        return next(row for row in self.postgres["orders"] if row["id"] == order_id(name))

    def forget(self, name: str) -> None:
        """An order vanishes from both stores."""
        self.postgres["orders"].remove(self.row(name))
        del self.lane["holds"][order_id(name)[len(SALE) :]]

    def lose_disk(self, at_ms: int) -> None:
        """A fault after which answers may be forgotten."""
        fault = {"at_ms": BEGUN + at_ms, "done_ms": BEGUN + at_ms + 5, "lossy": True}
        self.facts["schedule"].append(fault | {"fault": "empty_redis", "args": {}})


def good_story() -> Story:
    """Ann pays, Bob cancels, Cid forgets, Dora pays late, Eve has her money back."""
    story = Story()
    story.entry([f"open\t{BEGUN}-{BEGUN + 60_000}"], 0)
    story.won("ann", "ann", 100)
    story.op("read", "ann", 150, state="confirmed", order=order_id("ann"))
    story.op("pay", "ann", 200, order=order_id("ann"))
    story.event("P", "ann", 205)
    story.op("read", "ann", 220, state="paying", order=order_id("ann"))
    story.op("checkout", "ann", 300, order=order_id("ann"))
    story.event("S", "ann", 320)
    story.money("captured", "ann", PRICE)
    story.op("read", "ann", 400, state="paid", order=order_id("ann"))
    story.won("bob", "bob", 500, quantity=2)
    story.event("C", "bob", 605)
    story.op("cancel", "bob", 600, state="cancelled", order=order_id("bob"))
    story.won("cid", "cid", 700)
    story.op("reserve", "cid", 750, ok=False, status=409, code="limit_reached", quantity=2, key="2")
    story.won("dora", "dora", 800)
    story.op("pay", "dora", 820, order=order_id("dora"))
    story.event("P", "dora", 825)
    story.op("checkout", "dora", 850, order=order_id("dora"), ok=None, returned=BEGUN + 4_000)
    story.won("eve", "eve", 900)
    story.op("pay", "eve", 920, order=order_id("eve"))
    story.event("P", "eve", 925)
    story.op("checkout", "eve", 950, order=order_id("eve"))
    story.event("S", "eve", 970)
    story.money("captured", "eve", PRICE)
    story.op("cancel", "eve", 1_000, state="refunded", order=order_id("eve"))
    story.event("F", "eve", 1_005)
    story.money("refunded", "eve", PRICE)
    story.event("X", "cid", 3_800)
    story.op("read", "cid", 3_900, state="expired", order=order_id("cid"))
    story.event("X", "dora", 3_900)
    story.event("S", "dora", 4_500)
    story.money("captured", "dora", PRICE)
    story.op("read", "dora", 4_600, state="paid", order=order_id("dora"))
    return story.close()
