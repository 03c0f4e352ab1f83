"""What anyone may read, and how long it may be kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.sales.shop import item, now, rfc3339
from tests.web.house import House, Reply


async def read(house: House, sale: str, **more) -> Reply:
    return await house.call("GET", f"/v1/sales/{sale}", **more)


async def test_the_public_facts_of_a_sale(house: House) -> None:
    starts = now() + timedelta(hours=1)
    sale = await house.sale(
        name="Mi <3>",
        starts_at=rfc3339(starts),
        ends_at=rfc3339(starts + timedelta(hours=1)),
        items=[item("a"), item("b", supply=0)],
    )
    reply = await read(house, sale)
    assert reply.status == 200
    facts = reply.json
    assert facts == {
        "id": sale,
        "name": "Mi <3>",
        "kind": "launch",
        "state": "scheduled",
        "starts_at": facts["starts_at"],
        "ends_at": facts["ends_at"],
        "server_time": facts["server_time"],
        "items": [
            {
                "sku": sku,
                "name": "Mi 3 16 GB",
                "price": {"amount": 199900, "currency": "CNY"},
                "availability": shown,
            }
            for sku, shown in (("a", "available"), ("b", "sold_out"))
        ],
        "per_buyer_limit": 2,
        "hold_seconds": 60,
        "published_supply": False,
        "cancellation": {"paid": "refund"},
    }
    assert abs(datetime.fromisoformat(facts["starts_at"]) - starts) < timedelta(milliseconds=2)
    assert abs(datetime.fromisoformat(facts["server_time"]) - now()) < timedelta(seconds=30)
    assert all(len(facts[name]) == 24 for name in ("starts_at", "ends_at", "server_time"))


async def test_a_sale_may_be_kept_for_a_second_and_asked_after_cheaply(house: House) -> None:
    sale = await house.sale(items=[item(supply=2)])
    first = await read(house, sale)
    assert first.headers["Cache-Control"] == "public, max-age=1"
    tag = first.headers["ETag"]
    for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
        again = await read(house, sale, headers={"If-None-Match": known})
        assert (again.status, again.text, again.headers["ETag"]) == (304, "", tag)
    assert (await house.order(sale, quantity=2)).status == 201
    listing = await house.deps.desk.board.listing(sale)
    await house.deps.desk.board.refresh(listing)
    sold_out = await read(house, sale, headers={"If-None-Match": tag})
    assert (sold_out.status, sold_out.json["items"][0]["availability"]) == (200, "sold_out")
    assert sold_out.headers["ETag"] != tag


async def test_what_a_merchant_publishes_and_what_is_always_said(house: House) -> None:
    sale = await house.sale(published_supply=True, durability="relaxed")
    facts = (await read(house, sale)).json
    assert (facts["published_supply"], facts["items"][0]["supply"]) == (True, 10)
    assert facts["durability"] == "relaxed"


async def test_drafts_and_strangers_names_are_unknown(house: House) -> None:
    draft = (await house.draft()).json["id"]
    for sale in (draft, "aaaaaaaaaaaa", "short", "%00", "..%2fv1%2ftime", "A" * 12):
        reply = await read(house, sale)
        assert (reply.status, reply.code) == (404, "unknown_sale")


async def test_sales_are_listed_newest_start_first(house: House) -> None:
    far = [now() + timedelta(days=300 + days) for days in range(3)]
    made = [
        await house.sale(starts_at=rfc3339(at), ends_at=rfc3339(at + timedelta(hours=1)))
        for at in far
    ]
    draft = (await house.draft()).json["id"]
    first = await house.call("GET", "/v1/sales?limit=2")
    cursor = first.json["next_cursor"]
    second = (await house.call("GET", f"/v1/sales?limit=2&cursor={cursor}")).json
    listed = [sale["id"] for sale in first.json["items"] + second["items"]]
    assert listed[:3] == made[::-1]
    everything = (await house.call("GET", "/v1/sales?limit=500")).json["items"]
    assert draft not in [sale["id"] for sale in everything]
    kept = await house.call(
        "GET", "/v1/sales?limit=2", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert kept.status == 304


async def test_the_time(house: House) -> None:
    before = now() - timedelta(milliseconds=1)
    reply = await house.call("GET", "/v1/time")
    received, sent = (datetime.fromisoformat(reply.json[n]) for n in ("received_at", "sent_at"))
    assert before <= received <= sent <= now()
    assert reply.headers["Cache-Control"] == "no-store"
