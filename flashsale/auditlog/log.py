"""The audit log as the web works with it: pages, and what a key tried without being allowed to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flashsale.auditlog import queries
from flashsale.auditlog.acting import Act
from flashsale.auditlog.chain import Entry
from flashsale.auditlog.queries import Database

#: How many refused writes of one key are written down in a burst, and one more every so often:
#: whoever holds a weak key must not be able to fill the log.
REFUSALS_BURST_MAX = 10
REFUSAL_SECONDS = 60.0
KEYS_WATCHED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some entries; `next_cursor` is None on the last page."""

    items: Sequence[Entry]
    next_cursor: str | None


@dataclass(slots=True)
class _Allowance:
    left: float
    seen_at: float
    untold: int = 0


@dataclass(slots=True)
class AuditLog:
    """The log in Postgres; every method raises asyncpg's errors where it is away."""

    database: Database
    clock: Callable[[], float] = time.monotonic
    _allowances: dict[str, _Allowance] = field(default_factory=dict)

    async def page(
        self, merchant_id: str, sale_id: str | None, before: int | None, limit: int
    ) -> EntryPage:
        """A merchant's entries, or one sale's, newest first, before the number `before`."""
        found = await queries.page(self.database, merchant_id, sale_id, before, limit + 1)
        shown = found[:limit]
        return EntryPage(shown, str(shown[-1].seq) if len(found) > limit else None)

    async def refused(self, act: Act, needed: str) -> bool:
        """Write down that a key tried what needs the scope `needed`; False where it did too often.

        What is left out is counted in the key's next entry.
        """
        allowance = self._allowance(act.actor)
        if allowance.left < 1:
            allowance.untold += 1
            return False
        allowance.left -= 1
        untold, allowance.untold = allowance.untold, 0
        detail = {"refused": "scope_missing", "needed": needed}
        await queries.record(
            self.database,
            act.merchant_id,
            act.actor,
            act.action,
            act.subject,
            {**detail, "not_logged_before": untold} if untold else detail,
            sale_id=act.sale_id,
        )
        return True

    def _allowance(self, key: str) -> _Allowance:
        now = self.clock()
        if len(self._allowances) >= KEYS_WATCHED_MAX:
            self._allowances.clear()
        allowance = self._allowances.setdefault(key, _Allowance(REFUSALS_BURST_MAX, now))
        gained = (now - allowance.seen_at) / REFUSAL_SECONDS
        allowance.left = min(REFUSALS_BURST_MAX, allowance.left + gained)
        allowance.seen_at = now
        return allowance
