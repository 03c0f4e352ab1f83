"""The hash chain as a value: what a whole one is, and that each kind of damage is seen."""

from __future__ import annotations

import hashlib

import orjson
import pytest

from flashsale.auditlog.chain import GENESIS, ChainCheck, Head, Row, read, verify

MERCHANT = "mer_aaaaaaaaaaaa"


def chain(length: int, merchant: str = MERCHANT) -> list[Row]:
    rows, previous = [], GENESIS
    for seq in range(1, length + 1):
        said = {
            "merchant_id": merchant,
            "seq": seq,
            "previous": previous,
            "at": "2026-11-11T10:00:00.000Z",
            "actor": "key_bbbbbbbbbbbb",
            "action": "pause_sale",
            "subject": "cccccccccccc",
            "sale_id": "cccccccccccc",
            "detail": {"state": "paused", "name": "小米"},
        }
        rows.append(made(seq, said))
        previous = rows[-1].hash
    return rows


def made(seq: int, said: dict) -> Row:
    entry = orjson.dumps(said).decode()
    return Row(seq, entry, hashlib.sha256(entry.encode()).hexdigest())


def head(rows: list[Row]) -> Head:
    return Head(rows[-1].seq, rows[-1].hash) if rows else Head(0, GENESIS)


def altered(row: Row, **changes: object) -> Row:
    """An entry rewritten by somebody who also makes its hash anew."""
    return made(row.seq, orjson.loads(row.entry) | changes)


@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_a_whole_chain_holds_however_it_is_cut_into_pages(length: int) -> None:
    rows = chain(length)
    verdict = verify(MERCHANT, rows, head(rows))
    assert verdict.holds
    assert (verdict.merchant_id, verdict.entries) == (MERCHANT, length)
    check = ChainCheck(MERCHANT)
    for at in range(0, length, 7):
        check.feed(rows[at : at + 7])
    assert check.verdict(head(rows)) == verdict


def test_every_damage_is_seen_and_named() -> None:
    rows = chain(5)
    whole = head(rows)
    third = rows[2]
    damages = {
        "entry 3 was changed": [*rows[:2], third._replace(entry=third.entry + " "), *rows[3:]],
        "entry 3 is missing": [*rows[:2], *rows[3:]],
        "entry 4 does not follow the one before it": [
            *rows[:2],
            altered(third, action="close_sale"),
            *rows[3:],
        ],
        "entry 3 belongs elsewhere": [
            *rows[:2],
            altered(third, merchant_id="mer_other"),
            *rows[3:],
        ],
        "entry 3 cannot be read": [*rows[:2], made(3, {"seq": 3}), *rows[3:]],
        "the chain ends at entry 4, and should at 5": rows[:4],
        "entry 1 is missing": rows[1:],
        "entry 2 is missing": [rows[0], rows[2], rows[1], *rows[3:]],
        "entry 6 is missing": [*rows, rows[4]],
    }
    for fault, damaged in damages.items():
        verdict = verify(MERCHANT, damaged, whole)
        assert not verdict.holds
        assert verdict.fault == fault


def test_a_chain_made_wholly_anew_is_told_by_its_head() -> None:
    rows = chain(3)
    forged = chain(3, "mer_other")
    forged[-1] = altered(forged[-1], merchant_id=MERCHANT)
    assert not verify(MERCHANT, forged, head(rows)).holds


def test_an_entry_is_read_as_it_was_written() -> None:
    (row,) = chain(1)
    entry = read(row)
    assert (entry.seq, entry.actor, entry.detail["name"]) == (1, "key_bbbbbbbbbbbb", "小米")
    assert (entry.previous, entry.hash, entry.entry) == (GENESIS, row.hash, row.entry)
