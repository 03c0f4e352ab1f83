"""The hash chain: what an entry says, and whether a chain is whole (INV-17). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

#: What the first entry of every chain follows.
GENESIS = "0" * 64


class Row(NamedTuple):
    """An entry as it is kept: its text, letter by letter what was hashed, and the hash."""

    seq: int
    entry: str
    hash: str


class Head(NamedTuple):
    """Where a chain ends: its newest entry's number and hash; 0 and GENESIS while it is empty."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What an entry says. `at` is RFC 3339; `hash` and `previous` are SHA-256 in hex."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str | None
    sale_id: str | None
    detail: dict[str, Any]
    previous: str
    hash: str
    entry: str


def read(row: Row) -> Entry:
    """The entry of a row; ValueError where its text is none."""
    said = orjson.loads(row.entry)
    try:
        return Entry(
            seq=said["seq"],
            at=said["at"],
            actor=said["actor"],
            action=said["action"],
            subject=said["subject"],
            sale_id=said["sale_id"],
            detail=said["detail"],
            previous=said["previous"],
            hash=row.hash,
            entry=row.entry,
        )
    except (KeyError, TypeError) as error:
        raise ValueError("the text is no entry") from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """A chain, checked as far as its first fault: `fault` is empty where it is whole."""

    merchant_id: str
    entries: int
    fault: str = ""

    @property
    def holds(self) -> bool:
        """Whether the chain is whole."""
        return not self.fault


class ChainCheck:
    """Checks one merchant's chain, fed with its rows in order, a page at a time."""

    def __init__(self, merchant_id: str) -> None:
        self._merchant_id = merchant_id
        self._reached = Head(0, GENESIS)
        self._fault = ""

    def feed(self, rows: Iterable[Row]) -> None:
        """Take the next rows; what follows a fault is not looked at."""
        for row in rows:
            if self._fault:
                return
            self._fault = self._fault_of(row)
            self._reached = Head(row.seq, row.hash)

    def _fault_of(self, row: Row) -> str:
        due = self._reached.seq + 1
        if row.seq != due:
            return f"entry {due} is missing"
        if hashlib.sha256(row.entry.encode()).hexdigest() != row.hash:
            return f"entry {row.seq} was changed"
        try:
            entry = read(row)
        except ValueError:
            return f"entry {row.seq} cannot be read"
        if entry.previous != self._reached.hash:
            return f"entry {row.seq} does not follow the one before it"
        if entry.seq != row.seq or orjson.loads(row.entry).get("merchant_id") != self._merchant_id:
            return f"entry {row.seq} belongs elsewhere"
        return ""

    def verdict(self, head: Head) -> Verdict:
        """The verdict once all rows were fed; `head` is where the chain is said to end."""
        fault = self._fault
        if not fault and head != self._reached:
            fault = f"the chain ends at entry {self._reached.seq}, and should at {head.seq}"
        return Verdict(self._merchant_id, self._reached.seq, fault)


def verify(merchant_id: str, rows: Iterable[Row], head: Head) -> Verdict:
    """Whether all entries are there, unchanged, each behind the one before it, up to `head`."""
    check = ChainCheck(merchant_id)
    check.feed(rows)
    return check.verdict(head)
