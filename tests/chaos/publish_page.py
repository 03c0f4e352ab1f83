"""The published results as a page for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Row = dict[str, Any]
_ENDS = ("ok", "refused", "unknown")
_SEED_COLUMNS: tuple[tuple[str, Callable[[Row], int]], ...] = (
    ("faults", lambda row: sum(row["faults"].values())),
    ("operations", lambda row: sum(sum(each.values()) for each in row["operations"].values())),
    ("orders", lambda row: row["orders"]),
    ("503", lambda row: row["sometimes"].get("told_503", 0)),
    ("unknown", lambda row: row["sometimes"].get("unknown_answers", 0)),
    ("reclaims", lambda row: row["sometimes"].get("reclaims", 0)),
    ("expiries", lambda row: row["sometimes"].get("expiries", 0)),
    ("late payments", lambda row: row["sometimes"].get("late_payments", 0)),
    ("dead letters", lambda row: row["sometimes"].get("dead_letters", 0)),
    ("recoveries", lambda row: row["sometimes"].get("recoveries", 0)),
)


def page(whole: Row) -> str:
    """Both parts, as far as each was published."""
    lines = [
        "# Under random faults",
        "",
        "Each run starts the whole engine, lets fifty clients buy, pay, cancel, forget and ask",
        "again over real HTTP, and hurts it every few seconds. Then it is left alone until nothing",
        "is left to do, and a checker that imports nothing of the engine judges the clients'",
        "histories, both stores and the provider's statement.",
    ]
    if "seeds" in whole:
        lines += _seeds(whole["seeds"])
    if "planted" in whole:
        lines += _planted(whole["planted"])
    return "\n".join([*lines, ""])


def _head(part: Row, rows: Sequence[Row], versions: Row) -> Iterable[str]:
    told = {"date": part["date"], "cores": part["cores"], **versions}
    yield from ("", f"`{part['command']}`", "")
    yield ", ".join(f"{name} {value}" for name, value in told.items()) + "."
    if len(rows) < part["asked"]:
        yield from ("", f"**Broken off** after {len(rows)} of {part['asked']}.")


def _seeds(part: Row) -> list[str]:
    rows: list[Row] = part["seeds"]
    versions = next((row["versions"] for row in rows if row["versions"]), {})
    bad = [row for row in rows if row["broken"]]
    lines = ["", "## Seeds", *_head(part, rows, versions), ""]
    lines += [f"**{len(rows) - len(bad)} of {len(rows)} runs hold.**"]
    if part["never"]:
        lines += ["", f"Never happened, and so not shown: {', '.join(part['never'])}."]
    if part["picture"]:
        lines += ["", f"![Seed {part['picture']}, second by second](chaos.svg)"]
    titles = ["seed", "verdict", *(title for title, _ in _SEED_COLUMNS), "seconds until quiet"]
    table = [
        [str(row["seed"]), ", ".join(row["broken"]) or "holds"]
        + [f"{read(row):,}" for _, read in _SEED_COLUMNS]
        + [str(row["quiet_seconds"])]
        for row in rows
    ]
    total = [f"{sum(map(read, rows)):,}" for _, read in _SEED_COLUMNS]
    longest = max((row["quiet_seconds"] for row in rows), default=0)
    table.append(["all", f"{len(bad)} broken", *total, f"at most {longest}"])
    lines += ["", *_table(titles, table)]
    for row in bad:
        lines += ["", f"Seed {row['seed']}:", ""]
        lines += [f"- {what}" for what in (*row["what"], *filter(None, [row["error"]]))]
    return [*lines, *_operations(rows), *_faults(rows)]


def _operations(rows: Sequence[Row]) -> list[str]:
    total: dict[str, Counter[str]] = {}
    for row in rows:
        for op, ended in row["operations"].items():
            total.setdefault(op, Counter()).update(ended)
    table = [[op, *(f"{ended[name]:,}" for name in _ENDS)] for op, ended in sorted(total.items())]
    told = "Operations of all runs by how they ended. Unknown: no answer, or 503 and the like."
    words = ["", told, ""]
    return [*words, *_table(["operation", *_ENDS], table)]


def _faults(rows: Sequence[Row]) -> list[str]:
    times: Counter[str] = Counter()
    in_vain: Counter[str] = Counter()
    seeds: Counter[str] = Counter()
    for row in rows:
        times.update(row["faults"])
        in_vain.update(row["in_vain"])
        seeds.update(row["faults"].keys())
    table = [
        [name, str(count), str(seeds[name]), str(in_vain[name] or "")]
        for name, count in sorted(times.items())
    ]
    words = ["", "Faults of all runs. In vain: it met another one, or nobody came by.", ""]
    return [*words, *_table(["fault", "times", "in runs", "in vain"], table)]


def _planted(part: Row) -> list[str]:
    rows: list[Row] = part["planted"]
    missed = [row["name"] for row in rows if not row["caught_by"]]
    lines = ["", "## Planted bugs", *_head(part, rows, {}), ""]
    lines += ["The same checker, of an engine into which a bug was put: it has to see each.", ""]
    caught = f"**{len(rows) - len(missed)} of {len(rows)} were caught.**"
    lines += [caught + (f" Not caught: {', '.join(missed)}." if missed else ""), ""]
    titles = ["bug", "what it does", "caught by", "runs", "seconds"]
    table = [
        [
            row["name"],
            row["what"],
            ", ".join(row["caught_by"]) or "**nothing**",
            str(row["runs"]),
            f"{row['seconds']:.0f}",
        ]
        for row in rows
    ]
    return [*lines, *_table(titles, table)]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    numbers = {"times", "in runs", "in vain", "runs", "seconds", "seconds until quiet", *_ENDS}
    numbers |= {title for title, _ in _SEED_COLUMNS}
    lines = ["| " + " | ".join(titles) + " |"]
    lines.append("|" + "|".join("---:" if title in numbers else "---" for title in titles) + "|")
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
