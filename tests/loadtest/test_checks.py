from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from flashsale.demo.verdict import Verdict
from loadtest.checks import check_audit, check_failures, check_orders, check_settled
from loadtest.history import Ending
from tests.demo.ledger import SALE, ledger, order, store

UNITS = 50


def answers(folder: Path, numbers: range) -> Path:
    path = folder / "answered-1.txt"
    path.write_text("".join(f"{order(number)}\n" for number in numbers), encoding="ascii")
    return path


async def failed(connection: asyncpg.Connection, path: Path) -> set[str]:
    checks = await check_orders(connection, SALE, UNITS, [path])
    return {check.name for check in checks if not check.holds}


async def test_a_good_run_passes(fresh_database: str, tmp_path: Path) -> None:
    async with ledger(fresh_database) as connection:
        await store(connection, range(UNITS))
        await store(connection, range(60, 62), state="expired")
        path = answers(tmp_path, range(UNITS))
        with path.open("a", encoding="ascii") as more:
            more.writelines(f"{order(number)}\n" for number in (60, 61))

        assert await failed(connection, path) == set()


async def test_a_planted_oversell_is_caught(fresh_database: str, tmp_path: Path) -> None:
    async with ledger(fresh_database) as connection:
        await store(connection, range(UNITS + 1))

        path = answers(tmp_path, range(UNITS + 1))
        assert await failed(connection, path) == {"nothing oversold"}


async def test_a_planted_lost_order_is_caught(fresh_database: str, tmp_path: Path) -> None:
    async with ledger(fresh_database) as connection:
        await store(connection, range(UNITS))
        await connection.execute("DELETE FROM orders WHERE id = $1", order(7))

        path = answers(tmp_path, range(UNITS))
        assert await failed(connection, path) == {"no answered order lost"}


async def test_an_order_nobody_was_told_of_is_caught(fresh_database: str, tmp_path: Path) -> None:
    async with ledger(fresh_database) as connection:
        await store(connection, range(UNITS))

        path = answers(tmp_path, range(UNITS - 1))
        assert await failed(connection, path) == {"every stored order was answered"}


async def test_a_buyer_above_the_limit_is_caught(fresh_database: str, tmp_path: Path) -> None:
    async with ledger(fresh_database) as connection:
        await store(connection, range(2), buyer="greedy")

        path = answers(tmp_path, range(2))
        assert await failed(connection, path) == {"nobody above the limit"}


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (check_settled(5, 5), True),
        (check_settled(5, 4), False),
        (check_audit(Verdict(holds=True, sentence="all equations hold")), True),
        (check_audit(Verdict(holds=False, sentence="INV-2 is broken")), False),
    ],
)
def test_the_other_checks_follow_what_was_found(check: object, holds: bool) -> None:
    assert check.holds is holds  # type: ignore[attr-defined]


def test_one_failed_request_fails_the_run() -> None:
    failure = {"name": "order", "error": "500 internal", "count": 3}

    assert check_failures(Ending(10, {}, [])).holds
    found = check_failures(Ending(10, {}, [failure]))
    assert not found.holds
    assert found.found == "3 of 10 requests failed, such as order: 500 internal"
    assert not check_failures(Ending(0, {}, [])).holds
