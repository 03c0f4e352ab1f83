"""Asks the auditor, as anyone would: `flashsale audit` in a process of its own. Believes no one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass

from flashsale.embedded.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the auditor said of a sale; `equations` are (equation, its two sides) in words."""

    holds: bool
    sentence: str
    equations: tuple[tuple[str, str], ...] = ()


async def audit(credentials: Credentials, sale: str) -> Verdict:
    """Audit a sale of a running engine."""
    environment = {
        **os.environ,
        "FLASHSALE_REDIS_URL": credentials.redis_url,
        "FLASHSALE_POSTGRES_DSN": credentials.postgres_dsn,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "flashsale", "audit", sale, "--json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    return verdict_of(sale, process.returncode, output, complaint.decode(errors="replace"))


def verdict_of(sale: str, code: int | None, output: bytes, complaint: str) -> Verdict:
    """Read an audit's JSON; one that names no such sale, or says nothing, holds nothing."""
    try:
        checks = next(each for each in json.loads(output)["sales"] if each["sale_id"] == sale)[
            "checks"
        ]
    except (ValueError, KeyError, TypeError, StopIteration):
        words = complaint.strip() or "it said nothing"
        return Verdict(holds=False, sentence=f"the audit did not answer: {words}")
    equations = tuple(
        (f"{check['invariant']}: {check['equation']}", f"{check['left']:,} | {check['right']:,}")
        for check in checks
    )
    broken = [check for check in checks if not check["holds"]]
    if broken:
        told = "; ".join(_broken(check) for check in broken)
        return Verdict(holds=False, sentence=f"the audit is broken: {told}", equations=equations)
    if code != 0 or not checks:
        return Verdict(holds=False, sentence=f"the audit ended with {code}", equations=equations)
    return Verdict(
        holds=True, sentence=f"the audit holds, all {len(checks)} equations", equations=equations
    )


def _broken(check: dict[str, object]) -> str:
    sides = f"{check['left']} against {check['right']}"
    return f"{check['invariant']}, {check['equation']} ({sides})"
