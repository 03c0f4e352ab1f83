"""The users themselves, in a real locust, against a small seller."""

from __future__ import annotations

import time
from pathlib import Path

from loadtest.history import read_ending, read_history
from loadtest.plan import LocustPlan
from loadtest.run import _start_locust
from tests.demo.shop import KEY, SALE, Shop


async def run(shop: Shop, folder: Path, profile: str, minutes: float) -> LocustPlan:
    plan = LocustPlan(
        profile=profile,
        minutes=minutes,
        sale=SALE,
        sku="phone",
        starts_at_ms=int((time.time() + 5) * 1000),
        merchant_id=KEY.merchant_id,
        kid=KEY.kid,
        secret=KEY.secret.decode(),
        results=str(folder),
    )
    async with shop.open() as base_url:
        process = await _start_locust(plan, base_url)
        code = await process.wait()
    assert code == 0, (folder / "locust.log").read_text(encoding="utf-8")
    assert (folder / "plan.json").stat().st_mode & 0o077 == 0
    return plan


async def test_users_buy_what_there_is_and_record_every_yes(tmp_path: Path) -> None:
    shop = Shop(100)

    plan = await run(shop, tmp_path, "launch-150k", 0.1)

    answered = [
        order
        for path in tmp_path.glob("answered-*.txt")
        for order in path.read_text(encoding="ascii").split()
    ]
    assert sorted(answered) == sorted(shop.orders.values())
    assert len(answered) == 100
    ending = read_ending(plan.ending_file)
    assert ending.failures == []
    assert ending.by_name["order: sold_out"]["requests"] > 0
    assert ending.by_name["read"]["requests"] == shop.reads
    assert sum(entry["requests"] for entry in ending.by_name.values()) == ending.requests
    history = read_history(tmp_path / "locust_stats_history.csv", plan.starts_at_ms / 1000)
    assert history.achieved


async def test_a_seller_who_forgets_is_noticed(tmp_path: Path) -> None:
    plan = await run(Shop(10_000, forgets_keys=True), tmp_path, "launch-150k", 0.1)

    failures = read_ending(plan.ending_file).failures
    assert {failure["name"] for failure in failures} == {"same order again"}
