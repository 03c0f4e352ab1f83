"""The audit log over HTTP: every merchant's write is in it, with its key, and can be checked."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

from flashsale.auditlog.chain import Head, Row, verify
from tests.sales.shop import now, rfc3339
from tests.web.house import House


async def entries(house: House, path: str = "/audit-log", **more) -> list[dict]:
    """The whole log, oldest first, read in pages of two."""
    found, cursor = [], ""
    while cursor is not None:
        page = await house.manage("GET", f"{path}?limit=2{cursor}", **more)
        assert page.status == 200, page.text
        found += page.json["items"]
        following = page.json["next_cursor"]
        cursor = None if following is None else f"&cursor={following}"
    return found[::-1]


async def own_key(house: House) -> tuple[str, str]:
    made = (await house.manage("POST", "/api-keys", {"label": "mine", "scope": "admin"})).json
    return made["id"], made["key"]


async def test_every_write_of_a_sales_life_is_logged_once(house: House) -> None:
    key_id, key = await own_key(house)
    before = len(await entries(house))
    draft = await house.manage("POST", "/sales", house_body(), bearer=key)
    sale = draft.json["id"]
    calls = [
        ("PATCH", "", {"name": "Mi 3 again"}, {"If-Match": draft.headers["ETag"]}),
        ("POST", "/schedule", None, {}),
        ("POST", "/pause", None, {}),
        ("POST", "/pause", None, {}),  # there already: nothing changes
        ("POST", "/resume", None, {}),
        ("POST", "/supply", {"sku": "mi3-16", "quantity": 5, "reason": "wave"}, {}),
        ("POST", "/close", None, {}),
        ("POST", "/resume", None, {}),  # refused: nothing changes
    ]
    for method, path, value, headers in calls:
        await house.manage(method, f"/sales/{sale}{path}", value, bearer=key, headers=headers)
    logged = await entries(house, f"/sales/{sale}/audit-log")
    assert [entry["action"] for entry in logged] == [
        *("create_sale", "edit_sale", "schedule_sale", "pause_sale", "resume_sale", "add_supply"),
        *("close_sale",),
    ]
    assert {entry["actor"] for entry in logged} == {key_id}
    assert {entry["sale_id"] for entry in logged} == {sale}
    assert [entry["subject"] for entry in logged] == [sale] * len(logged)
    assert logged[1]["detail"] == {"name": "Mi 3 again"}
    assert logged[3]["detail"] == {"state": "paused"}
    assert logged[5]["detail"]["quantity"] == 5
    assert len(await entries(house)) == before + len(logged)


def house_body() -> dict:
    start = now() + timedelta(seconds=1)
    price = {"amount": 199900, "currency": "CNY"}
    return {
        "name": "Mi 3",
        "kind": "launch",
        "starts_at": rfc3339(start),
        "ends_at": rfc3339(start + timedelta(hours=1)),
        "items": [{"sku": "mi3-16", "name": "Mi 3", "price": price, "supply": 10}],
        "per_buyer_limit": 2,
        "hold_seconds": 60,
    }


async def test_who_has_the_log_can_check_it_without_us(house: House) -> None:
    await house.sale()
    logged = await entries(house)
    assert logged
    for entry in logged:
        assert hashlib.sha256(entry["entry"].encode()).hexdigest() == entry["hash"]
        said = json.loads(entry["entry"])
        assert {name: said[name] for name in ("seq", "at", "actor", "detail")} == {
            name: entry[name] for name in ("seq", "at", "actor", "detail")
        }
    rows = [Row(entry["seq"], entry["entry"], entry["hash"]) for entry in logged]
    assert verify(house.merchant.merchant_id, rows, Head(rows[-1].seq, rows[-1].hash)).holds


async def test_a_write_without_the_scope_is_logged_and_a_read_is_not(house: House) -> None:
    made = (await house.manage("POST", "/api-keys", {"label": "eye", "scope": "read"})).json
    sale = await house.sale()
    before = len(await entries(house))
    for method, path in [
        ("POST", f"/sales/{sale}/cancel"),
        ("GET", "/api-keys"),
        ("POST", "/sales/%00%22%0a/pause"),
    ]:
        assert (await house.manage(method, path, bearer=made["key"])).code == "scope_missing"
    last = (await entries(house))[before:]
    assert [entry["action"] for entry in last] == ["cancel_sale", "pause_sale"]
    assert last[0]["detail"] == {"refused": "scope_missing", "needed": "manage"}
    assert (last[0]["actor"], last[0]["subject"], last[0]["sale_id"]) == (made["id"], sale, sale)
    assert last[1]["subject"] is None
    state = (await house.manage("GET", f"/sales/{sale}")).json["state"]
    assert state == "open"


async def test_a_stranger_sees_nothing_and_a_cursor_of_another_kind_is_refused(
    house: House,
) -> None:
    sale = await house.sale()
    stranger = {"bearer": house.other.api_key}
    assert await entries(house, **stranger) == []
    reply = await house.manage("GET", f"/sales/{sale}/audit-log", **stranger)
    assert reply.code == "unknown_sale"
    for cursor in ("0", "-1", "x", "1" * 19, "%C2%B2"):
        reply = await house.manage("GET", f"/audit-log?cursor={cursor}")
        assert (reply.code, reply.pointers) == ("validation_failed", ["/cursor"])
