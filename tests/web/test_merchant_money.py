"""The merchant's side of money over HTTP: an order's whole story, refunds, shipments, exports."""

from __future__ import annotations

import asyncio
import csv
import io

import pytest

from flashsale.domain.orders import OrderAction, OrderState, transition
from flashsale.web.render_merchant import CSV_COLUMNS
from flashsale.web.shipments_csv import CSV_MAX_BYTES
from tests.sales.shop import item
from tests.web.house import House, Reply

NOWHERE = "a" * 12
PRICE = {"amount": 199900, "currency": "CNY"}
SENT = {"carrier": "SF Express", "tracking_number": "SF1234567890"}
_S, _A = OrderState, OrderAction
STATES = sorted(set(_S) - {_S.RESERVED})


async def refund(house: House, order: str, key: str = "r", **form) -> Reply:
    value = {"reason": "broken"} | form
    path = f"/orders/{order}/refunds"
    return await house.manage("POST", path, value, headers={"Idempotency-Key": key})


async def ship(house: House, order: str, **changes) -> Reply:
    return await house.manage("POST", f"/orders/{order}/shipment", SENT | changes)


async def state_of(house: House, order: str) -> str:
    return str((await house.manage("GET", f"/orders/{order}")).json["state"])


async def test_the_whole_story_of_an_order(house: House) -> None:
    sale = await house.sale()
    order = await house.paid(sale, "ann")
    told = await house.manage("GET", f"/orders/{order}")
    assert told.status == 200
    story = told.json
    assert (story["id"], story["state"], story["buyer_id"]) == (order, "paid", "ann")
    (payment,) = story["payments"]
    assert (payment["provider"], payment["counts"]) == ("sandbox", True)
    assert (payment["captured"], payment["refunding"]["amount"]) == (PRICE, 0)
    assert (story["refunds"], story["shipment"]) == ([], None)

    part = await refund(house, order, amount={"amount": 900, "currency": "CNY"})
    assert (part.status, part.json["amount"]["amount"]) == (201, 900)
    again = await refund(house, order, amount={"amount": 900, "currency": "CNY"})
    assert (again.json, again.headers["Idempotency-Replayed"]) == (part.json, "true")
    other = await refund(house, order, amount={"amount": 901, "currency": "CNY"})
    assert (other.status, other.code) == (422, "idempotency_key_reused")
    story = (await house.manage("GET", f"/orders/{order}")).json
    assert story["state"] == "paid"
    assert [each["amount"]["amount"] for each in story["refunds"]] == [900]
    assert (story["refunds"][0]["cause"], story["refunds"][0]["reason"]) == ("merchant", "broken")

    sent = await ship(house, order)
    assert (sent.status, sent.json["carrier"]) == (201, SENT["carrier"])
    assert (await ship(house, order)).headers["Idempotency-Replayed"] == "true"
    elsewhere = await ship(house, order, carrier="DHL")
    assert (elsewhere.status, elsewhere.code) == (409, "already_shipped")
    story = (await house.manage("GET", f"/orders/{order}")).json
    assert (story["state"], story["shipment"]) == ("fulfilled", sent.json)
    shown = await house.read(order, "ann")
    assert shown["shipment"] == sent.json


async def test_all_that_came_in_goes_back_with_the_units(house: House) -> None:
    sale, buyer = await house.sale(), house.buyer()
    order = await house.paid(sale, buyer, quantity=2)
    asked = await asyncio.gather(*(refund(house, order) for _ in range(4)))
    assert {each.status for each in asked} == {201}, [each.text for each in asked]
    assert len({each.json["refunds"][0]["id"] for each in asked}) == 1
    await house.dispatch()
    assert await state_of(house, order) == "refunded"
    stock = (await house.manage("GET", f"/sales/{sale}")).json["items"][0]["stock"]
    assert (stock["available"], stock["sold"]) == (10, 0)


@pytest.mark.parametrize(
    ("form", "pointer"),
    [
        ({"amount": {"amount": 199901, "currency": "CNY"}}, None),
        ({"amount": {"amount": 1, "currency": "EUR"}}, "/amount/currency"),
        ({"amount": {"amount": 1, "currency": "yuan"}}, "/amount/currency"),
        ({"amount": {"amount": 0, "currency": "CNY"}}, "/amount/amount"),
        ({"amount": {"amount": -1, "currency": "CNY"}}, "/amount/amount"),
        ({"amount": {"amount": 1.5, "currency": "CNY"}}, "/amount/amount"),
        ({"amount": {"amount": 2**53, "currency": "CNY"}}, "/amount/amount"),
        ({"amount": {"amount": 1}}, "/amount/currency"),
        ({"amount": 1}, "/amount"),
        ({"reason": ""}, "/reason"),
        ({"reason": "r" * 201}, "/reason"),
        ({"reason": None}, "/reason"),
        ({"cause": "late"}, "/cause"),
    ],
)
async def test_a_bad_refund_changes_nothing(house: House, form, pointer: str | None) -> None:
    order = await house.paid(await house.sale(), house.buyer())
    reply = await refund(house, order, **form)
    if pointer is None:
        assert (reply.status, reply.code) == (409, "refund_above_captured")
    else:
        assert (reply.status, reply.code, reply.pointers) == (422, "validation_failed", [pointer])
    assert (await house.manage("GET", f"/orders/{order}")).json["refunds"] == []
    good = await refund(house, order, amount={"amount": 199900, "currency": "CNY"})
    assert (good.status, "Idempotency-Replayed" in good.headers) == (201, False)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_missing"),
        ("k" * 256, "idempotency_key_malformed"),
        ("a\tb", "idempotency_key_malformed"),
    ],
)
async def test_a_refund_needs_its_key(house: House, key, code: str) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    reply = await house.manage(
        "POST", f"/orders/{NOWHERE}{'A' * 20}/refunds", {"reason": "x"}, headers=headers
    )
    assert (reply.status, reply.code) == (400, code)


@pytest.mark.parametrize(
    "state",
    [each for each in STATES if not transition(each, _A.REFUND) and each is not _S.FULFILLED],
)
async def test_what_has_no_money_gives_none_back(house: House, state: OrderState) -> None:
    order, _ = await house.stand(state)
    reply = await refund(house, order)
    assert (reply.status, reply.code) == (409, "order_not_refundable")
    assert await state_of(house, order) == state.value


@pytest.mark.parametrize("state", [each for each in STATES if not transition(each, _A.FULFIL)])
async def test_only_what_is_paid_is_shipped(house: House, state: OrderState) -> None:
    order, _ = await house.stand(state)
    reply = await ship(house, order)
    assert (reply.status, reply.code) == (409, "order_not_shippable")
    assert await state_of(house, order) == state.value


async def test_an_order_that_is_closing_waits(house: House) -> None:
    order = await house.paid(await house.sale(), house.buyer())
    await house.shop.pool.execute("UPDATE orders SET closing = 'changing' WHERE id = $1", order)
    for reply in (await refund(house, order), await ship(house, order)):
        assert (reply.status, reply.code) == (409, "order_closing")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"carrier": ""}, "/carrier"),
        ({"carrier": "c" * 101}, "/carrier"),
        ({"carrier": "a\nb"}, "/carrier"),
        ({"carrier": 7}, "/carrier"),
        ({"tracking_number": None}, "/tracking_number"),
        ({"tracking_number": " 1"}, "/tracking_number"),
        ({"url": "https://example.org"}, "/url"),
    ],
)
async def test_a_bad_shipment_names_the_field(house: House, changes, pointer: str) -> None:
    reply = await ship(house, NOWHERE + "A" * 20, **changes)
    assert (reply.status, reply.code, reply.pointers) == (422, "validation_failed", [pointer])


@pytest.mark.parametrize("name", ["another's", "unsettled", "x%00", NOWHERE + "A" * 20])
async def test_anothers_order_is_as_unknown_as_none(house: House, name: str) -> None:
    sale, key = await house.sale(), None
    if name == "another's":
        name, key = await house.buy(sale, house.buyer()), house.other.api_key
    elif name == "unsettled":
        name = (await house.order(sale)).json["id"]
    more = {} if key is None else {"bearer": key}
    for method, path, value in [
        ("GET", "", None),
        ("POST", "/refunds", {"reason": "x"}),
        ("POST", "/shipment", SENT),
    ]:
        headers = {"Idempotency-Key": "k"}
        reply = await house.manage(method, f"/orders/{name}{path}", value, headers=headers, **more)
        assert (reply.status, reply.code) == (404, "unknown_order"), path


async def send_list(house: House, sale: str, text: str | bytes, **headers: str) -> Reply:
    data = text.encode() if isinstance(text, str) else text
    return await house.manage(
        "POST",
        f"/sales/{sale}/shipments.csv",
        data=data,
        headers={"Content-Type": "text/csv", **headers},
    )


async def test_a_list_is_carried_out_whole_or_not_at_all(house: House) -> None:
    sale = await house.sale()
    paid = [await house.paid(sale, house.buyer()) for _ in range(2)]
    unpaid = await house.buy(sale, house.buyer())
    head = "order_id;carrier;tracking_number\r\n"
    good = "".join(f"{order};SF;{number}\r\n" for number, order in enumerate(paid))
    refused = await send_list(house, sale, f"\ufeff{head}{good}{unpaid};SF;9\n")
    assert (refused.status, refused.code) == (409, "shipments_refused")
    assert refused.pointers == ["/lines/4"]
    assert refused.json["errors"][0]["detail"] == "Only a paid order can be shipped."
    assert [await state_of(house, order) for order in paid] == ["paid", "paid"]

    done = await send_list(house, sale, f"\ufeff{head}{good}")
    assert (done.status, done.json) == (200, {"shipped": 2, "already_shipped": 0})
    assert [await state_of(house, order) for order in paid] == ["fulfilled"] * 2
    again = await send_list(house, sale, head + good, **{"Content-Type": "text/csv; charset=utf-8"})
    assert again.json == {"shipped": 0, "already_shipped": 2}
    moved = await send_list(house, sale, f"{head}{paid[0]};DHL;1")
    assert (moved.code, moved.pointers) == ("shipments_refused", ["/lines/2"])


async def test_a_bad_list_names_its_lines(house: House) -> None:
    sale = await house.sale()
    other = await house.buy(await house.sale(), house.buyer())
    text = f"order_id,carrier,tracking_number\n{other},SF,1\n=cmd,SF,2\n{sale}{'A' * 20},,3\n"
    reply = await send_list(house, sale, text)
    assert (reply.status, reply.code) == (422, "validation_failed")
    assert reply.pointers == ["/lines/2/order_id", "/lines/3/order_id", "/lines/4/carrier"]
    assert "=cmd" not in reply.text
    unknown = f"order_id,carrier,tracking_number\n{sale}{'A' * 20},SF,3\n"
    reply = await send_list(house, sale, unknown)
    assert (reply.status, reply.code, reply.pointers) == (409, "shipments_refused", ["/lines/2"])


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"x" * (CSV_MAX_BYTES + 1), {}, 413),
        (b"x", {"Content-Type": "application/json"}, 415),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"x", {"Content-Encoding": "gzip"}, 415),
        (b"", {}, 422),
        (b"\xff\xfe", {}, 422),
    ],
)
async def test_what_is_no_list_is_refused(house: House, data: bytes, headers, status: int) -> None:
    reply = await send_list(house, await house.sale(), data, **headers)
    assert reply.status == status


async def test_anothers_list_is_refused_unread(house: House) -> None:
    sale = await house.sale()
    for name in (sale, NOWHERE, "short"):
        reply = await house.manage(
            "POST",
            f"/sales/{name}/shipments.csv",
            data=b"x",
            headers={"Content-Type": "text/csv"},
            bearer=house.other.api_key,
        )
        assert (reply.status, reply.code) == (404, "unknown_sale")


async def test_an_export_tells_money_and_way_and_reads_back_as_a_list(house: House) -> None:
    sale = await house.sale(items=[item()])
    paid, unpaid = await house.paid(sale, "=paid"), await house.buy(sale, "+unpaid")
    late = await house.paid(sale, "late")
    assert (await ship(house, paid, carrier="=SF", tracking_number="-1")).status == 201
    await refund(house, paid, amount={"amount": 900, "currency": "CNY"})
    exported = await house.manage("GET", f"/sales/{sale}/orders.csv")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(exported.text))}
    assert set(rows) == {paid, late, unpaid}
    assert tuple(next(iter(rows.values()))) == CSV_COLUMNS
    assert (rows[paid]["captured"], rows[paid]["carrier"]) == ("199900", "'=SF")
    assert (rows[paid]["tracking_number"], rows[paid]["state"]) == ("'-1", "fulfilled")
    assert rows[paid]["shipped_at"].endswith("Z")
    assert [rows[unpaid][name] for name in ("captured", "refunded", "carrier", "shipped_at")] == [
        *("0", "0", "", ""),
    ]
    rows[late] |= {"carrier": "SF", "tracking_number": "7"}
    filled_in = csv.DictWriter(text := io.StringIO(), CSV_COLUMNS)
    filled_in.writeheader()
    filled_in.writerows(rows.values())
    reply = await send_list(house, sale, text.getvalue())
    assert (reply.status, reply.json) == (200, {"shipped": 1, "already_shipped": 1})
