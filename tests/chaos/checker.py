"""Judges a recorded run by its files alone; it imports nothing of the engine, nor believes it.

    python -m tests.chaos.checker FOLDER

It prints a verdict, writes it to `verdict.json`, and exits 1 where an invariant does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from tests.chaos import (
    checker_answers,
    checker_log,
    checker_money,
    checker_orders,
    checker_sales,
    checker_stock,
    checker_stream,
)
from tests.chaos.checker_run import Broken, Run, load

RULES: tuple[Callable[[Run], Iterator[Broken]], ...] = (
    checker_stock.balanced,
    checker_stock.within_capacity,
    checker_stock.agreed,
    checker_stock.limited,
    checker_stock.timely,
    checker_stream.accounted,
    checker_stream.followed,
    checker_answers.kept,
    checker_answers.written,
    checker_answers.keyed,
    checker_answers.evident,
    checker_orders.linearizable,
    checker_money.paid_once,
    checker_money.booked,
    checker_money.added_up,
    checker_sales.shut,
    checker_sales.told,
    checker_sales.agreed,
    checker_sales.supplied,
    checker_log.chained,
    checker_log.logged,
)
#: What must have happened somewhere, or the runs together have proved nothing.
MUST_HAPPEN = ("reclaims", "expiries", "late_payments", "dead_letters", "recoveries")
_EVIDENCE_MAX = 5


def judge(run: Run) -> list[Broken]:
    """Everything that does not hold."""
    return [broken for rule in RULES for broken in rule(run)]


def sometimes(run: Run) -> dict[str, int]:
    """How often each thing happened: what the files show, or what the runner has counted."""
    expired = sum(row["state"] == "expired" for row in run.rows("orders"))
    refused = sum(row["cause"] == "late" for row in run.rows("refunds"))
    shown = Counter(
        expiries=max(expired, _lines(run, "X")),
        late_payments=refused + _late(run),
        dead_letters=len(run.rows("dead_letters")),
        recoveries=sum(row["step"] == "opened" for row in run.rows("recoveries")),
    )
    names = sorted({*MUST_HAPPEN, *shown, *run.sometimes})
    return {name: max(shown[name], int(run.sometimes.get(name, 0))) for name in names}


def _lines(run: Run, kind: str) -> int:
    return sum(
        line.kind == kind for lane in run.lanes for each in lane.entries for line in each.lines
    )


def _late(run: Run) -> int:
    """Money that came after the hold had run out, and still found a unit."""
    ran_out, late = set(), 0
    for lane in run.lanes:
        for entry in lane.entries:
            for line in entry.lines:
                late += line.kind == "S" and line.order in ran_out
                ran_out |= {line.order} if line.kind == "X" else set()
    return late


def never(verdicts: Iterable[Mapping[str, Any]]) -> list[str]:
    """What did not happen in any of several runs."""
    happened: Counter[str] = Counter()
    for verdict in verdicts:
        happened.update(verdict["sometimes"])
    return [name for name in MUST_HAPPEN if not happened[name]]


def verdict(run: Run) -> dict[str, Any]:
    """The judgement as it is written down."""
    found = judge(run)
    answers = Counter(f"{op.op} {op.code or op.state or op.status}" for op in run.ops)
    return {
        "holds": not found,
        "broken": [each._asdict() for each in found],
        "sometimes": sometimes(run),
        "counts": {
            "operations": len(run.ops),
            "unknown": sum(op.ok is None for op in run.ops),
            "orders": len(run.orders),
            "events": sum(len(entry.lines) for lane in run.lanes for entry in lane.entries),
            "provider": len(run.provider),
            "outcomes": outcomes(run),
            "answers": dict(sorted(answers.items())),
        },
    }


def outcomes(run: Run) -> dict[str, dict[str, int]]:
    """How each kind of operation ended: yes, a refusal, or nobody knows."""
    ended = {True: "ok", False: "refused", None: "unknown"}
    found: dict[str, dict[str, int]] = {}
    for op in run.ops:
        found.setdefault(op.op, dict.fromkeys(ended.values(), 0))[ended[op.ok]] += 1
    return dict(sorted(found.items()))


def describe(judged: Mapping[str, Any]) -> str:
    """A few lines for people; the first broken invariants with what shows them."""
    counts = judged["counts"]
    result = "holds" if judged["holds"] else "BROKEN"
    lines = [
        f"{result}: {counts['operations']} operations ({counts['unknown']} unknown),",
        f"{counts['orders']} orders, {counts['events']} events, {counts['provider']} of money",
        "sometimes: " + ", ".join(f"{name} {n}" for name, n in judged["sometimes"].items()),
    ]
    by_rule = Counter((each["invariant"], each["what"]) for each in judged["broken"])
    lines += [f"  {name}: {what} ({times} times)" for (name, what), times in by_rule.items()]
    for each in judged["broken"][:_EVIDENCE_MAX]:
        lines.append(
            f"    {each['invariant']}: {json.dumps(each['evidence'], default=plain)[:600]}"
        )
    return "\n".join(lines)


def plain(value: Any) -> Any:
    """Evidence as JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def check(folder: Path) -> dict[str, Any]:
    """Judge a run's folder and leave `verdict.json` in it."""
    judged = verdict(load(folder))
    text = json.dumps(judged, indent=1, default=plain)
    (folder / "verdict.json").write_text(text, "utf-8")
    result: dict[str, Any] = json.loads(text)
    return result


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Judge a recorded run.")
    parser.add_argument("folder", type=Path)
    judged = check(parser.parse_args().folder)
    sys.stdout.write(describe(judged) + "\n")
    return 0 if judged["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
