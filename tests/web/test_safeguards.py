"""What the engine keeps from selling, or sells on a lesser promise, is said wherever it shows."""

from __future__ import annotations

from tests.web.house import House


async def test_a_relaxed_promise_is_shown_wherever_its_sale_is(house: House) -> None:
    sale = await house.sale(durability="relaxed")
    public = (await house.call("GET", f"/v1/sales/{sale}")).json
    listed = (await house.call("GET", "/v1/sales")).json["items"]
    mine = (await house.manage("GET", f"/sales/{sale}")).json
    all_mine = (await house.manage("GET", "/sales")).json["items"]
    report = (await house.manage("GET", f"/sales/{sale}/report")).json
    for shown in (public, *listed, mine, *all_mine, report):
        assert shown["durability"] == "relaxed"
    assert len(listed) == len(all_mine) == 1


async def test_a_merchant_is_told_what_was_shut_and_paused_and_why(house: House) -> None:
    sale = await house.sale()
    mine = (await house.manage("GET", f"/sales/{sale}")).json
    assert (mine["paused_reason"], mine["items"][0]["shut_reason"]) == (None, None)
    await house.deps.sales._pool.execute(
        "UPDATE sale_items SET shut_at = now(), shut_reason = 'it drifts' WHERE sale_id = $1", sale
    )
    await house.deps.sales._pool.execute(
        "UPDATE sales SET state = 'paused', paused_reason = 'set fsync = on' WHERE id = $1", sale
    )
    mine = (await house.manage("GET", f"/sales/{sale}")).json
    assert (mine["state"], mine["paused_reason"]) == ("paused", "set fsync = on")
    assert mine["items"][0]["shut_reason"] == "it drifts"
    resumed = (await house.manage("POST", f"/sales/{sale}/resume")).json
    assert (resumed["state"], resumed["paused_reason"]) == ("open", None)
    refused = await house.order(sale)
    assert (refused.status, refused.code) == (503, "paused")
