"""The audit log knows of money given back, parcels sent, goods come in and addresses told."""

from __future__ import annotations

from tests.web.house import House

PART = {"amount": {"amount": 900, "currency": "CNY"}, "reason": "broken"}
SENT = {"carrier": "SF Express", "tracking_number": "SF1234567890"}


async def newest(house: House) -> dict:
    (entry,) = (await house.manage("GET", "/audit-log?limit=1")).json["items"]
    return entry


async def test_refunds_and_shipments(house: House) -> None:
    sale = await house.sale()
    order = await house.paid(sale, "ann")
    before = await newest(house)
    for _ in range(2):  # the same refund: one change, one entry
        refunded = await house.manage(
            "POST", f"/orders/{order}/refunds", PART, headers={"Idempotency-Key": "r"}
        )
        assert refunded.status == 201, refunded.text
    told = await newest(house)
    assert told["seq"] == before["seq"] + 1
    assert (told["action"], told["subject"], told["sale_id"]) == ("refund_order", order, sale)
    assert told["detail"]["amount"] == 900
    assert (told["detail"]["cause"], told["detail"]["reason"]) == ("merchant", "broken")
    shipped = await house.manage("POST", f"/orders/{order}/shipment", SENT)
    assert shipped.status in {200, 201}, shipped.text
    told = await newest(house)
    assert (told["action"], told["subject"]) == ("ship_order", order)
    assert told["detail"]["carrier"] == "SF Express"


async def test_webhooks_but_neither_their_address_nor_their_secret(house: House) -> None:
    address = "https://127.0.0.1/hook/t0ken"
    made = await house.manage("POST", "/webhooks", {"url": address})
    assert made.status == 201, made.text
    path = f"/webhooks/{made.json['id']}"
    created = await newest(house)
    assert (created["action"], created["subject"]) == ("create_webhook", made.json["id"])
    await house.manage("POST", f"{path}/rotate")
    rotated = await newest(house)
    assert rotated["action"] == "rotate_webhook_secret"
    assert list(rotated["detail"]) == ["previous_until"]
    await house.manage("DELETE", path)
    assert (await newest(house))["action"] == "delete_webhook"
    whole = (await house.manage("GET", "/audit-log")).text
    assert "t0ken" not in whole
    assert made.json["secret"] not in whole


async def test_a_new_sku_on_a_running_sale(house: House) -> None:
    sale = await house.sale()
    price = {"amount": 100, "currency": "CNY"}
    form = {"sku": "mi3-white", "name": "Mi 3 white", "price": price, "supply": 3}
    added = await house.manage("POST", f"/sales/{sale}/items", form)
    assert added.status in {200, 201}, added.text
    told = await newest(house)
    assert (told["action"], told["subject"], told["sale_id"]) == ("add_item", sale, sale)
    assert told["detail"]["sku"] == "mi3-white"
