from __future__ import annotations

import io
import time
from typing import Any

import pytest

from flashsale.demo.crowd import Mix
from flashsale.demo.driver import Driver
from flashsale.demo.plan import Plan
from tests.demo.shop import KEY, SALE, Shop

MIX = Mix(reads_per_order=0.5, repeat_every=5, drop_every=10, comeback_every=20, losers=50)


def plan(base_url: str, units: int, **others: Any) -> Plan:
    values: dict[str, Any] = {"mix": MIX, "connections": 8, "early_seconds": 0.0, **others}
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
        answers_path="unused",
        **values,
    )


async def drive(shop: Shop, **others: Any) -> tuple[dict[str, Any], list[str], list[Any]]:
    """The result, the ids of the orders answered, and the windows reported."""
    answers, windows = io.StringIO(), []
    async with shop.open() as base_url:
        chosen = plan(base_url, shop.units, **others)
        result = await Driver(chosen, answers, windows.append).run()
    return result, answers.getvalue().split(), windows


async def test_a_launch_is_sold_out_and_everyone_has_an_answer() -> None:
    shop = Shop(300)

    result, answered, windows = await drive(shop)

    assert result["problems"] == []
    assert result["reserved"] == 300
    assert sorted(answered) == sorted(shop.orders.values())
    counts = result["counts"]
    assert counts["order"] == {"reserved": 300}
    assert counts["refused"]["sold_out"] >= MIX.losers
    assert counts["repeat"]["same"] >= 300 // MIX.repeat_every - 10
    assert counts["comeback"]["same"] >= 300 // MIX.comeback_every - 3
    assert counts["read"] == {"200": shop.reads}
    assert result["faults"]["dropped"] >= 300 // MIX.drop_every
    assert sum(window["counts"].get("order", {}).get("reserved", 0) for window in windows) == 300


async def test_busy_and_closed_connections_lose_nobody() -> None:
    shop = Shop(200, busy_every=7, closes_every=11)

    result, answered, _ = await drive(shop)

    assert result["problems"] == []
    assert sorted(answered) == sorted(shop.orders.values())
    assert result["counts"]["refused"]["busy"] > 0
    assert len(answered) == 200


async def test_who_comes_early_is_served_at_the_opening() -> None:
    shop = Shop(50, closed_for=30)

    result, answered, _ = await drive(shop)

    # Two of the thirty may have been lost unread by visitors who drop the connection.
    assert 28 <= result["counts"]["early"]["not_open"] <= 30
    assert result["problems"] == []
    assert len(answered) == 50


async def test_a_paced_crowd_comes_at_its_rate() -> None:
    shop = Shop(60)

    result, answered, windows = await drive(shop, rate=400.0)

    assert len(answered) == 60
    assert result["problems"] == []
    visits = sum(sum(kind.values()) for each in windows for kind in each["counts"].values())
    assert windows[-1]["offered"] >= visits - result["faults"]["repeated"]
    assert windows[-1]["at"] >= windows[-1]["offered"] / 400.0


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"sells_beyond_supply": True}, "is number 101 of 100 units"),
        ({"forgets_keys": True}, "one buyer and key were given two orders"),
        ({"forgets_winners": True}, "confirmed to its buyer, then answered sold_out"),
    ],
)
async def test_a_broken_promise_is_noticed(fault: dict[str, bool], told: str) -> None:
    result, _, _ = await drive(Shop(100, **fault))

    assert result["problem_count"] > 0
    assert any(told in problem for problem in result["problems"])


async def test_a_silent_server_is_given_up() -> None:
    shop = Shop(1000, busy_every=1)

    async with shop.open() as base_url:
        chosen = plan(base_url, 10, silence_seconds_max=0.3, connections=1)
        driver = Driver(chosen, io.StringIO(), lambda _: None)
        driver.answered = lambda *_: False  # type: ignore[method-assign]
        with pytest.raises(ConnectionError, match="no answer"):
            await driver.run()
