"""INV-17: each merchant's audit log is one chain of hashes, recomputed from its text. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.chaos.checker_run import Broken, Run

_NOTHING = "0" * 64


def chained(run: Run) -> Iterator[Broken]:
    """Entries are numbered from 1, none missing, each with the hash of the one before in it."""
    chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in run.rows("audit_log"):
        chains[row["merchant_id"]].append(row)
    heads = {row["merchant_id"]: (row["seq"], row["hash"]) for row in run.rows("audit_heads")}
    for merchant in sorted(chains.keys() | heads.keys()):
        rows = sorted(chains[merchant], key=lambda row: int(row["seq"]))
        yield from _links(merchant, rows)
        ends = (rows[-1]["seq"], rows[-1]["hash"]) if rows else (0, _NOTHING)
        if heads.get(merchant) != ends:
            evidence = {"merchant": merchant, "head": heads.get(merchant), "ends": ends}
            yield Broken("INV-17", "the audit log does not end where it should", evidence)


def _links(merchant: str, rows: list[dict[str, Any]]) -> Iterator[Broken]:
    before = _NOTHING
    for due, row in enumerate(rows, start=1):
        if row["seq"] != due:
            evidence = {"merchant": merchant, "due": due, "found": row["seq"]}
            yield Broken("INV-17", "an entry of the audit log is missing", evidence)
            return
        told = json.loads(row["entry"])
        if hashlib.sha256(row["entry"].encode()).hexdigest() != row["hash"]:
            yield Broken("INV-17", "an entry of the audit log was changed", row)
        elif (told["merchant_id"], told["seq"]) != (merchant, due):
            yield Broken("INV-17", "an entry of the audit log stands in another's place", row)
        elif told["previous"] != before:
            yield Broken("INV-17", "an entry does not follow the one before it", row)
        before = row["hash"]


def logged(run: Run) -> Iterator[Broken]:
    """What the merchant was told is done stands in the log, as often as it was done."""
    merchant = run.facts.get("merchant")
    told = [json.loads(row["entry"]) for row in run.rows("audit_log")]
    subjects = [each["detail"].get("id") for each in told if each["merchant_id"] == merchant]
    for op in run.ops:
        if op.op == "supply" and op.ok and subjects.count(op.body.get("id")) != 1:
            evidence = {"times": subjects.count(op.body.get("id")), "of": op}
            yield Broken("INV-17", "a supply stands not once in the audit log", evidence)
