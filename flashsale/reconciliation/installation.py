"""Audits what belongs to no single sale: the provider's statement, the audit logs' chains."""

from __future__ import annotations

from datetime import UTC, datetime

from flashsale.auditlog.queries import verify_chains
from flashsale.reconciliation import money_queries
from flashsale.reconciliation.chains import chains_check
from flashsale.reconciliation.errors import NoStatementError
from flashsale.reconciliation.money import MoneyBounds, money_alerts
from flashsale.reconciliation.money_statement import Statement, statement_checks
from flashsale.reconciliation.queries import Pool
from flashsale.reconciliation.report import AuditReport, Check

#: A wish that failed so often waits for more than a passing fault.
_ATTEMPTS_MAX = 8


async def audit_installation(
    pool: Pool,
    statement: Statement | None = None,
    *,
    bounds: MoneyBounds = MoneyBounds(),  # noqa: B008 - an immutable value
) -> AuditReport:
    """The whole installation's report; `statement` None where no provider is configured.

    A statement that cannot be had is an alert and breaks nothing. Raises asyncpg's errors.
    """
    notes = await money_queries.installation_notes(pool, _ATTEMPTS_MAX)
    checks = [
        Check(
            "INV-12",
            "movements applied that belong to no payment of their sale = 0",
            notes.misplaced == 0,
            notes.misplaced,
            0,
        )
    ]
    counts = {
        "outbox": notes.outbox,
        "outbox_stuck": notes.stuck,
        "ledger_quarantined": notes.quarantined,
        "ledger_unmatched": notes.unmatched,
    }
    async with pool.acquire() as connection:
        chains = await verify_chains(connection)
    checks.append(chains_check(chains))
    counts["audit_log_entries"] = sum(chain.entries for chain in chains)
    alerts = money_alerts(notes.quarantined, notes.unmatched)
    if notes.stuck:
        alerts.append(
            f"{notes.stuck} wishes in the outbox have failed {_ATTEMPTS_MAX} times or more:"
            " its column last_error says why."
        )
    if statement is None:
        alerts.append("No provider is configured: its statement was not compared.")
    else:
        try:
            compared, lines = await statement_checks(
                pool, statement, in_flight_seconds=bounds.statement_seconds
            )
            checks += compared
            counts |= lines
        except NoStatementError as error:
            alerts.append(str(error))
    return AuditReport(
        sale_id=None,
        state=None,
        checks=tuple(checks),
        counts=counts,
        alerts=tuple(alerts),
        taken_at=datetime.now(UTC),
    )
