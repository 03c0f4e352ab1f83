"""What a sale promises those who pay, as its merchant and as the public read it."""

from __future__ import annotations

import pytest

from flashsale.sales.wording import sentence
from tests.sales.shop import body, item
from tests.web.house import House

DEPOSIT = {"amount": 100, "currency": "CNY"}
SHIPS = "2030-03-01T00:00:00.000Z"
PREORDER = {
    "balance": {
        "mode": "on_allocation",
        "window_hours": 72,
        "grace_hours": 72,
        "retry_hours": 24,
        "reminder_hours": 24,
    },
    "on_default": "refund",
    "free_cancel_days": 14,
}


async def test_a_preorder_is_shown_with_all_that_it_left_out(house: House) -> None:
    items = [item(deposit=DEPOSIT, ships_at=SHIPS)]
    cancellation = {"paid": "refund", "within_minutes": 60}
    sale = await house.sale(kind="preorder", items=items, cancellation=cancellation)
    mine = (await house.manage("GET", f"/sales/{sale}")).json
    shown = (await house.call("GET", f"/v1/sales/{sale}")).json
    for answer in (mine, shown):
        assert answer["kind"] == "preorder"
        assert answer["preorder"] == PREORDER
        assert answer["cancellation"] == cancellation
        assert answer["items"][0]["deposit"] == DEPOSIT
        assert answer["items"][0]["ships_at"] == SHIPS
    listed = (await house.call("GET", "/v1/sales")).json["items"]
    assert PREORDER in [each.get("preorder") for each in listed]
    order = (await house.order(sale, quantity=2)).json
    assert order["amount_due"] == {"amount": 200, "currency": "CNY"}


async def test_a_launch_has_no_balance(house: House) -> None:
    sale = await house.sale(cancellation={"paid": "refused"})
    mine = (await house.manage("GET", f"/sales/{sale}")).json
    assert (mine["preorder"], mine["items"][0]["deposit"]) == (None, None)
    shown = (await house.call("GET", f"/v1/sales/{sale}")).json
    assert shown["cancellation"] == {"paid": "refused"}
    assert "preorder" not in shown
    assert not {"deposit", "ships_at"} & set(shown["items"][0])


async def test_a_sale_called_off_offers_nothing(house: House) -> None:
    sale = await house.sale()
    assert (await house.order(sale)).status == 201
    cancelled = await house.manage("POST", f"/sales/{sale}/cancel")
    assert cancelled.json["state"] == "cancelled"
    shown = (await house.call("GET", f"/v1/sales/{sale}")).json
    assert (shown["state"], shown["items"][0]["availability"]) == ("cancelled", "sold_out")


async def test_a_sku_joins_a_sale_under_way(house: House) -> None:
    sale = await house.sale()
    new = item("silver", supply=3, ships_at=SHIPS)
    for _ in range(2):
        added = await house.manage("POST", f"/sales/{sale}/items", new)
        assert added.status == 201, added.text
        assert added.headers["ETag"] == f'"{added.json["revision"]}"'
        assert [each["sku"] for each in added.json["items"]] == ["mi3-16", "silver"]
        assert added.json["items"][1]["stock"]["available"] == 3
    assert (await house.order(sale, sku="silver", quantity=2)).status == 201
    shown = (await house.call("GET", f"/v1/sales/{sale}")).json
    assert [each["availability"] for each in shown["items"]] == ["available", "available"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"sku": "mi3-16"}, "/sku"),
        ({"sku": ""}, "/sku"),
        ({"supply": -1}, "/supply"),
        ({"deposit": DEPOSIT}, "/deposit"),
        ({"price": {"amount": 1, "currency": "EUR"}}, "/price/currency"),
        ({"stock": 1}, "/stock"),
    ],
)
async def test_a_sku_that_does_not_fit_is_named(house: House, changes, pointer: str) -> None:
    sale = await house.sale()
    new = item("silver", name="Another") | changes
    reply = await house.manage("POST", f"/sales/{sale}/items", new)
    assert (reply.status, reply.code, reply.pointers) == (422, "validation_failed", [pointer])


async def test_a_refused_action_says_in_which_state_the_sale_is(house: House) -> None:
    sale = (await house.draft()).json["id"]
    for method, path, value in [
        ("POST", f"/sales/{sale}/pause", None),
        ("POST", f"/sales/{sale}/items", item("silver")),
    ]:
        reply = await house.manage(method, path, value)
        assert (reply.status, reply.code, reply.json["state"]) == (
            409,
            "illegal_transition",
            "draft",
        )
    await house.manage("POST", f"/sales/{sale}/cancel")
    wave = {"sku": "mi3-16", "quantity": 1, "reason": "wave"}
    for path, value in (("schedule", None), ("supply", wave), ("items", item("silver"))):
        reply = await house.manage("POST", f"/sales/{sale}/{path}", value)
        assert (reply.status, reply.json["state"]) == (409, "cancelled"), path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lanes": "1"}, "Must be a whole number, neither text nor a fraction."),
        ({"lanes": 1.5}, "Must be a whole number, neither text nor a fraction."),
        ({"preorder": {"free_cancel_days": "1"}}, "Must be a number, not text."),
        ({"lanes": 65}, "Must be at most 64."),
        ({"lanes": 0}, "Must be at least 1."),
        ({"name": 7}, "Must be text."),
        ({"name": "n" * 201}, "Must have at most 200 characters."),
        ({"published_supply": "yes"}, "Must be true or false, not text."),
        ({"items": {}}, "Must be a list."),
        ({"items": []}, "Must have at least 1 entries."),
        ({"items": [7]}, "Must be an object."),
        ({"durability": "best"}, "Must be 'strict' or 'relaxed'."),
        ({"starts_at": 7}, "Must be an RFC 3339 time such as 2026-11-11T10:00:00.000Z."),
        ({"colour": "red"}, "There is no such field."),
    ],
)
async def test_a_fault_is_told_in_plain_words(house: House, changes, told: str) -> None:
    reply = await house.manage("POST", "/sales", body(**changes))
    assert told in [error["detail"] for error in reply.json["errors"]]


def test_what_has_no_words_of_its_own_is_still_a_sentence() -> None:
    assert sentence("something_new", "Value went astray", {}) == "Value went astray."
    assert sentence("something_new", "It did.", {}) == "It did."


async def test_the_front_door_leads_to_the_document(house: House) -> None:
    for path in ("/", "/console"):
        async with house.session.get(house.url + path, allow_redirects=False) as reply:
            assert (reply.status, reply.headers["Location"]) == (307, "/docs")
    assert "text/html" in (await house.call("GET", "/")).headers["Content-Type"]
