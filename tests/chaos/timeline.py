"""A run as one picture, to be read from left to right; it judges nothing.

    python -m tests.chaos.timeline FOLDER

It writes `timeline.html`, which needs no script and no network, and prints the same in words.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.checker_run import Run, load, to_ms
from tests.chaos.timeline_picture import picture

#: Refusals this far apart belong to one closing of the gate.
_GATE_GAP_MS = 400
_GATE_LEAST = 3


class Span(NamedTuple):
    """Something that lasted; milliseconds since the start of the run."""

    begins: int
    ends: int
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened when. `outcomes` are operations by second and by how they ended."""

    title: str
    length_ms: int
    healed_ms: int
    faults: list[Span]
    gate: list[Span]
    recoveries: list[Span]
    lives: dict[str, list[Span]]
    outcomes: dict[int, Counter[str]]
    verdict: dict[str, Any] = field(default_factory=dict)


def outcome_of(ok: bool | None, status: int | None) -> str:
    """How an operation ended, in one of four ways."""
    if ok:
        return "yes"
    if ok is False:
        return "refused"
    return "gate" if status == 503 else "unknown"


def timeline(run: Run, verdict: dict[str, Any] | None = None) -> Timeline:
    """A run by the clock."""
    started = int(run.facts.get("started_ms") or min(op.invoked for op in run.ops))
    ended = int(run.facts.get("ended_ms") or max(op.returned for op in run.ops))
    outcomes: dict[int, Counter[str]] = defaultdict(Counter)
    for op in run.ops:
        outcomes[(op.returned - started) // 1000][outcome_of(op.ok, op.status)] += 1
    refused = sorted(op.returned - started for op in run.ops if op.status == 503 and op.ok is None)
    return Timeline(
        f"seed {run.facts.get('seed', '?')}",
        ended - started,
        int(run.facts.get("healed_ms") or ended) - started,
        [_fault(fault, started) for fault in run.facts.get("schedule") or []],
        gates(refused),
        [_recovery(row, started, ended) for row in run.rows("recoveries")],
        lives(run.facts.get("processes") or [], started, ended),
        dict(sorted(outcomes.items())),
        verdict or {},
    )


def _fault(fault: dict[str, Any], started: int) -> Span:
    begins = int(fault["at_ms"]) - started
    ends = int(fault.get("done_ms") or fault["at_ms"]) - started
    args = ", ".join(f"{name} {value}" for name, value in (fault.get("args") or {}).items())
    return Span(begins, ends, fault["fault"], f"{args} {fault.get('note') or ''}".strip())


def _recovery(row: dict[str, Any], started: int, ended: int) -> Span:
    ends = to_ms(row["opened_at"]) if row.get("opened_at") else ended
    what = f"epoch {row['epoch']}"
    return Span(to_ms(row["started_at"]) - started, ends - started, what, row.get("reason", ""))


def gates(refused: Sequence[int]) -> list[Span]:
    """When nothing could be answered: several 503 one after the other."""
    spans: list[Span] = []
    at: list[int] = []
    for instant in [*refused, sys.maxsize]:
        if at and instant - at[-1] > _GATE_GAP_MS:
            if len(at) >= _GATE_LEAST:
                spans.append(Span(at[0], at[-1], "503", f"{len(at)} answers"))
            at = []
        at.append(instant)
    return spans


def lives(told: Iterable[dict[str, Any]], started: int, ended: int) -> dict[str, list[Span]]:
    """When each process ran, from lines {"name", "at_ms", "what": up or down}."""
    found: dict[str, list[Span]] = defaultdict(list)
    since: dict[str, int] = {}
    for each in sorted(told, key=lambda line: int(line["at_ms"])):
        name, at_ms = str(each["name"]), int(each["at_ms"]) - started
        if each["what"] == "up":
            since.setdefault(name, at_ms)
        elif name in since:
            found[name].append(Span(since.pop(name), at_ms, name))
    for name, at_ms in since.items():
        found[name].append(Span(at_ms, ended - started, name))
    return {name: [_within(span) for span in spans] for name, spans in sorted(found.items())}


def _within(span: Span) -> Span:
    return span._replace(begins=max(0, span.begins))


def words(shown: Timeline) -> str:
    """The picture for terminals."""
    holds = shown.verdict.get("holds")
    said = "not judged" if holds is None else "holds" if holds else "BROKEN"
    lines = [f"{shown.title}: {shown.length_ms / 1000:.1f} s, {said}"]
    happened = [
        *((span, "fault") for span in shown.faults),
        *((span, "gate closed") for span in shown.gate),
        *((span, "recovery") for span in shown.recoveries),
    ]
    for span, kind in sorted(happened):
        took = (span.ends - span.begins) / 1000
        lines.append(
            f"{span.begins / 1000:7.2f} s  {took:6.2f} s  {kind:12} {span.what} {span.detail}"
        )
    for name, spans in shown.lives.items():
        up = sum(span.ends - span.begins for span in spans)
        lines.append(f"{name:14} started {len(spans)} times, up {up / 1000:.1f} s")
    total: Counter[str] = Counter()
    for counted in shown.outcomes.values():
        total += counted
    lines.append("answers: " + ", ".join(f"{name} {n}" for name, n in sorted(total.items())))
    return "\n".join(line.rstrip() for line in lines)


def draw(folder: Path) -> Timeline:
    """Leave `timeline.html` and `timeline.txt` in a run's folder."""
    path = folder / "verdict.json"
    verdict = json.loads(path.read_text("utf-8")) if path.exists() else None
    shown = timeline(load(folder), verdict)
    (folder / "timeline.html").write_text(picture(shown), "utf-8")
    (folder / "timeline.txt").write_text(words(shown) + "\n", "utf-8")
    return shown


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Draw a recorded run.")
    parser.add_argument("folder", type=Path)
    sys.stdout.write(words(draw(parser.parse_args().folder)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
