"""The merchant's calls: the form's fields, edits, life cycle, supply, what was sold, keys."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest

from flashsale.web.render_merchant import CSV_COLUMNS, plain_cell
from tests.sales.shop import body, item, now, rfc3339
from tests.web.house import House

NOWHERE = "aaaaaaaaaaaa"


def price(amount: object, currency: object = "CNY") -> dict[str, object]:
    return {"amount": amount, "currency": currency}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"ends_at": rfc3339(now() - timedelta(days=1))}, "/ends_at"),
        ({"starts_at": rfc3339(now() - timedelta(hours=1))}, "/starts_at"),
        ({"starts_at": "2030-01-01T10:00:00"}, "/starts_at"),
        ({"starts_at": 1893456000}, "/starts_at"),
        ({"starts_at": "soon"}, "/starts_at"),
        ({"items": [item(price=price(-1))]}, "/items/0/price/amount"),
        ({"items": [item(price=price(1.5))]}, "/items/0/price/amount"),
        ({"items": [item(price=price("1"))]}, "/items/0/price/amount"),
        ({"items": [item(price=price(1, "yuan"))]}, "/items/0/price/currency"),
        ({"items": [item(supply=-1)]}, "/items/0/supply"),
        ({"items": [item(supply=1_000_000_001)]}, "/items/0/supply"),
        ({"items": [item(supply=True)]}, "/items/0/supply"),
        ({"items": [item("a"), item("a")]}, "/items/1/sku"),
        ({"items": [item("")]}, "/items/0/sku"),
        ({"items": []}, "/items"),
        ({"per_buyer_limit": 11}, "/per_buyer_limit"),
        ({"per_buyer_limit": 0}, "/per_buyer_limit"),
        ({"hold_seconds": 0}, "/hold_seconds"),
        ({"kind": "auction"}, "/kind"),
        ({"admission": {"mode": "lottery"}}, "/admission/mode"),
        ({"published_supply": "yes"}, "/published_supply"),
        ({"name": None}, "/name"),
        ({"name": ""}, "/name"),
        ({"colour": "vermilion"}, "/colour"),
        ({"id": NOWHERE}, "/id"),
        ({"state": "open"}, "/state"),
    ],
)
async def test_a_bad_form_names_the_field(house: House, changes, pointer: str) -> None:
    reply = await house.manage("POST", "/sales", body(**changes))
    assert (reply.status, reply.code) == (422, "validation_failed")
    assert pointer in reply.pointers
    assert all(len(error["detail"]) > 5 for error in reply.json["errors"])
    assert "vermilion" not in reply.text


async def test_a_sale_is_answered_as_it_was_sent(house: House) -> None:
    form = body(
        name="<script>alert(1)</script>",
        starts_at="2030-01-01T18:00:00.250+08:00",
        ends_at="2030-01-01T11:00:00Z",
        items=[item("a"), item("b", supply=0, ships_at="2030-03-01T00:00:00Z")],
        published_supply=True,
    )
    created = await house.manage("POST", "/sales", form)
    assert created.status == 201, created.text
    sale = created.json
    assert created.headers["ETag"] == f'"{sale["revision"]}"'
    assert created.headers["Location"] == f"/v1/merchant/sales/{sale['id']}"
    assert created.headers["Content-Type"] == "application/json"
    assert (sale["state"], sale["name"]) == ("draft", form["name"])
    assert sale["starts_at"] == "2030-01-01T10:00:00.250Z"
    assert [each["stock"] for each in sale["items"]] == [None, None]
    assert [each["supply"] for each in sale["items"]] == [10, 0]
    assert sale["items"][1]["ships_at"] == "2030-03-01T00:00:00.000Z"
    read = await house.manage("GET", f"/sales/{sale['id']}")
    assert (read.status, read.json) == (200, sale)
    listed = (await house.manage("GET", "/sales?limit=1")).json
    assert listed["items"] == [sale]


async def test_edits_need_the_newest_revision(house: House) -> None:
    created = await house.draft()
    path, tag = f"/sales/{created.json['id']}", created.headers["ETag"]
    edit = {"name": "Renamed"}
    assert (await house.manage("PATCH", path, edit)).code == "precondition_required"
    edited = await house.manage("PATCH", path, edit, headers={"If-Match": tag})
    assert (edited.status, edited.json["name"]) == (200, "Renamed")
    assert edited.headers["ETag"] != tag
    for stale in (tag, "*", "W/" + edited.headers["ETag"], "nonsense"):
        reply = await house.manage("PATCH", path, edit, headers={"If-Match": stale})
        assert (reply.status, reply.code) == (412, "stale_edit")
    assert (await house.manage("GET", path)).json == edited.json
    for bad, pointer in (({"name": None}, "/name"), ({"state": "open"}, "/state")):
        reply = await house.manage("PATCH", path, bad, headers={"If-Match": edited.headers["ETag"]})
        assert (reply.code, reply.pointers) == ("validation_failed", [pointer])


async def test_a_running_sale_takes_only_safe_edits(house: House) -> None:
    sale = await house.sale()
    tag = (await house.manage("GET", f"/sales/{sale}")).headers["ETag"]
    unsafe = {"items": [item(supply=99)]}
    reply = await house.manage("PATCH", f"/sales/{sale}", unsafe, headers={"If-Match": tag})
    assert (reply.status, reply.code, reply.pointers) == (409, "edit_unsafe", ["/items"])
    safe = await house.manage(
        "PATCH", f"/sales/{sale}", {"per_buyer_limit": 3}, headers={"If-Match": tag}
    )
    assert (safe.status, safe.json["per_buyer_limit"]) == (200, 3)
    assert (await house.order(sale, quantity=3)).status == 201


async def test_the_life_of_a_sale(house: House) -> None:
    sale = (await house.draft()).json["id"]
    assert (await house.call("GET", f"/v1/sales/{sale}")).code == "unknown_sale"
    early = await house.manage("POST", f"/sales/{sale}/pause")
    assert (early.status, early.code) == (409, "illegal_transition")
    for action, state in [
        ("schedule", "open"),
        ("schedule", "open"),
        ("pause", "paused"),
        ("resume", "open"),
        ("close", "closed"),
        ("close", "closed"),
    ]:
        reply = await house.manage("POST", f"/sales/{sale}/{action}")
        assert (reply.status, reply.json["state"]) == (200, state), reply.text
        assert (await house.call("GET", f"/v1/sales/{sale}")).json["state"] == state
    for action in ("pause", "resume", "schedule", "cancel"):
        assert (await house.manage("POST", f"/sales/{sale}/{action}")).status == 409
    cancelled = await house.manage("POST", f"/sales/{await house.sale()}/cancel")
    assert cancelled.json["state"] == "cancelled"


async def test_supply_is_added_and_taken_back(house: House) -> None:
    sale = await house.sale()
    assert (await house.order(sale, quantity=2)).status == 201
    path = f"/sales/{sale}/supply"
    wave = {"sku": "mi3-16", "quantity": 5, "reason": "second wave"}
    added = [
        await house.manage("POST", path, wave, headers={"Idempotency-Key": "w"}) for _ in range(2)
    ]
    assert [reply.status for reply in added] == [201, 201]
    assert added[0].json == added[1].json
    assert added[0].json["state"] == "applied"
    stock = (await house.manage("GET", f"/sales/{sale}")).json["items"][0]["stock"]
    counted = {"capacity": 15, "available": 13, "held": 2, "paying": 0, "sold": 0}
    assert stock == counted
    for change, status, code in [
        ({"quantity": -14}, 409, "supply_below_live"),
        ({"quantity": 0}, 422, "validation_failed"),
        ({"quantity": 1.5}, 422, "validation_failed"),
        ({"sku": "nothing"}, 404, "unknown_sku"),
        ({"reason": ""}, 422, "validation_failed"),
        ({"at": "2020-01-01T00:00:00Z"}, 422, "validation_failed"),
        ({"at": "2030-01-01T00:00:00"}, 422, "validation_failed"),
    ]:
        reply = await house.manage("POST", path, wave | change)
        assert (reply.status, reply.code) == (status, code), change
    reused = await house.manage(
        "POST", path, wave | {"quantity": 6}, headers={"Idempotency-Key": "w"}
    )
    assert (reused.status, reused.code) == (422, "idempotency_key_reused")
    assert (await house.manage("POST", path, wave | {"quantity": -13})).status == 201
    later = rfc3339(now() + timedelta(minutes=5))
    assert (await house.manage("POST", path, wave | {"at": later})).json["state"] == "pending"
    listed = (await house.manage("GET", path)).json["items"]
    assert [each["quantity"] for each in listed if each["state"] != "refused"] == [5, -13, 5]


async def test_what_was_sold(house: House) -> None:
    sale = await house.sale(items=[item("=a"), item("b")])
    buyers = ["=cmd", "+1", "-1", "@x", "plain,comma"]
    orders = [(await house.order(sale, buyer, sku="=a")).json for buyer in buyers]
    gone = orders.pop()
    token = house.token(buyers[-1])
    await house.call("POST", f"/v1/orders/{gone['id']}/cancel", bearer=token)
    await house.settle()

    page = (await house.manage("GET", f"/sales/{sale}/orders?limit=3")).json
    rest = (
        await house.manage("GET", f"/sales/{sale}/orders?limit=3&cursor={page['next_cursor']}")
    ).json
    assert rest["next_cursor"] is None
    listed = page["items"] + rest["items"]
    assert {order["buyer_id"] for order in listed} == set(buyers)
    assert {order["state"] for order in listed} == {"confirmed", "cancelled"}

    exported = await house.manage("GET", f"/sales/{sale}/orders.csv")
    assert exported.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in exported.headers["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(exported.text)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row[0] for row in rows[1:]] == [order["id"] for order in listed]
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {"'=cmd", "'+1", "'-1", "'@x", "'=a", "plain,comma"} <= set(cells)

    report = (await house.manage("GET", f"/sales/{sale}/report")).json
    first, second = report["items"]
    assert (first["live_orders"], first["live_units"]) == (4, 4)
    assert first["live_amount"] == {"amount": 4 * 199900, "currency": "CNY"}
    assert {line["state"]: line["units"] for line in first["states"]} == {
        "confirmed": 4,
        "cancelled": 1,
    }
    assert (second["live_units"], second["states"]) == (0, [])


def test_no_cell_is_a_formula() -> None:
    assert [plain_cell(text) for text in ("=1", "\t=1", "\r1", "1=1", "")] == [
        "'=1",
        "'\t=1",
        "'\r1",
        "1=1",
        "",
    ]


@pytest.mark.parametrize("path", [f"/sales/{NOWHERE}", "/sales/short", "/sales/%00", "another's"])
async def test_anothers_sale_is_as_unknown_as_none(house: House, path: str) -> None:
    if path == "another's":
        path = f"/sales/{await house.sale()}"
    wave = {"sku": "mi3-16", "quantity": 5, "reason": "wave"}
    for method, call, value in [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("POST", "/schedule", None),
        ("POST", "/cancel", None),
        ("POST", "/supply", wave),
        ("GET", "/supply", None),
        ("GET", "/orders", None),
        ("GET", "/orders.csv", None),
        ("GET", "/report", None),
    ]:
        key = house.other.api_key
        reply = await house.manage(method, path + call, value, bearer=key)
        assert (reply.status, reply.code) == (404, "unknown_sale"), (method, call)
