from __future__ import annotations

import time
from pathlib import Path

import pytest

from flashsale.demo.crowd import Mix
from flashsale.demo.load import LoadError, driven
from flashsale.demo.plan import Plan
from tests.demo.shop import KEY, SALE, Shop


def plan(base_url: str, answers: Path, units: int) -> Plan:
    return Plan(
        base_url=base_url,
        sale=SALE,
        sku="phone",
        units=units,
        starts_at_ms=int(time.time() * 1000),
        merchant_id=KEY.merchant_id,
        kid=KEY.kid,
        secret=KEY.secret.decode(),
        prefix="buyer-",
        answers_path=str(answers),
        mix=Mix(drop_every=10, losers=20),
        silence_seconds_max=5.0,
    )


def test_a_plan_survives_the_pipe() -> None:
    sent = plan("http://127.0.0.1:1", Path("answers.txt"), 3)

    assert Plan.from_json(sent.to_json()) == sent


async def test_the_driver_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    shop = Shop(200)
    async with shop.open() as base_url:
        chosen = plan(base_url, tmp_path / "answers.txt", 200)
        reports = [report async for report in driven(chosen)]

    assert reports[-1]["result"]
    assert reports[-1]["problems"] == []
    assert sum(report.get("reserved", 0) for report in reports[-2:]) == 400
    answered = (tmp_path / "answers.txt").read_text(encoding="ascii").split()
    assert sorted(answered) == sorted(shop.orders.values())


async def test_a_driver_that_cannot_work_says_why(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "answers.txt"

    with pytest.raises(LoadError, match=r"The load driver gave up: .*No such file"):
        await anext(driven(plan("http://127.0.0.1:1", nowhere, 1)))
