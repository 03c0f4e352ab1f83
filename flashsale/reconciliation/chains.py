"""The audit log as the audit judges it: every merchant's hash chain is whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from flashsale.auditlog.chain import Verdict
from flashsale.reconciliation.report import Check

_NAMED_MAX = 3


def chains_check(verdicts: Sequence[Verdict]) -> Check:
    """INV-17; a broken chain is named with the first place where it breaks."""
    broken = [verdict for verdict in verdicts if not verdict.holds]
    named = [f"{verdict.merchant_id}: {verdict.fault}" for verdict in broken[:_NAMED_MAX]]
    more = f" and {len(broken) - _NAMED_MAX} more" if len(broken) > _NAMED_MAX else ""
    return Check(
        "INV-17",
        "audit logs that are no whole chain of hashes = 0",
        holds=not broken,
        left=len(broken),
        right=0,
        detail="; ".join(named) + more,
    )
