"""The audit's answer as values, as JSON and as a table. It judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant (INV-n of correctness.md) seen on the stores.

    `left` and `right` are the two sides of `equation`: sums where it holds everywhere, else those
    of the first place where it does not; `detail` then names the places.
    """

    invariant: str
    equation: str
    holds: bool
    left: int
    right: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """One sale, audited, or what belongs to none: then `sale_id` and `state` are None.

    `alerts` want a person's eye and break nothing.
    """

    sale_id: str | None
    state: str | None
    checks: tuple[Check, ...]
    counts: Mapping[str, int]
    alerts: tuple[str, ...]
    taken_at: datetime

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    @property
    def broken(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.holds)


def to_json(report: AuditReport) -> dict[str, Any]:
    """The report for `--json`; field names are stable, `taken_at` is RFC 3339 in UTC."""
    of_sale = {} if report.sale_id is None else {"sale_id": report.sale_id, "state": report.state}
    return {
        **of_sale,
        "holds": report.holds,
        "checks": [asdict(check) for check in report.checks],
        "counts": dict(report.counts),
        "alerts": list(report.alerts),
        "taken_at": report.taken_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def render(reports: Sequence[AuditReport]) -> Group:
    """The reports for a terminal."""
    if not reports:
        return Group(Text("No sale has been armed yet: there is nothing to audit."))
    return Group(*(part for report in reports for part in _render_one(report)))


def _render_one(report: AuditReport) -> list[Table | Text]:
    verdict = "holds" if report.holds else "BROKEN"
    name = "installation" if report.sale_id is None else f"{report.sale_id} ({report.state})"
    table = Table(title=f"{name}: {verdict}", title_justify="left")
    for column, justify in (("", "left"), ("equation", "left"), ("left", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("right", justify="right")
    table.add_column("")
    for check in report.checks:
        mark = Text("holds", "green") if check.holds else Text("broken", "bold red")
        equation = Text(check.equation)
        if check.detail:
            equation.append(f"\n{check.detail}", "dim" if check.holds else "red")
        table.add_row(check.invariant, equation, f"{check.left:,}", f"{check.right:,}", mark)
    return [table, *(Text(f"! {alert}", "yellow") for alert in report.alerts)]
