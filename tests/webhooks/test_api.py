"""Webhooks over HTTP: each call, each refusal, and nothing of another merchant's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from flashsale.access.api_keys import Scope, generate
from flashsale.access.queries import create_api_key
from flashsale.webhooks.delivery import Deliveries
from flashsale.webhooks.service import ENDPOINTS_MAX
from flashsale.webhooks.values import EVENT_TYPES
from tests.web.house import House, open_house
from tests.webhooks.conftest import Receiver

NOWHERE = "whk_aaaaaaaaaaaa"


@pytest.fixture(scope="module")
async def house(schema, new_database, redis_url) -> AsyncIterator[House]:
    async with (
        new_database(template=schema) as dsn,
        open_house(dsn, redis_url, way="routed") as opened,
    ):
        yield opened


@pytest.fixture(autouse=True)
async def clean(house: House) -> None:
    await house.shop.pool.execute("DELETE FROM webhook_endpoints")


def deliveries(house: House, ahead: timedelta = timedelta()) -> Deliveries:
    return Deliveries(house.shop.pool, lambda: datetime.now(UTC) + ahead, allow_private=True)


async def made(house: House, receiver: Receiver, *types: str):
    reply = await house.manage("POST", "/webhooks", {"url": receiver.url, "types": list(types)})
    assert reply.status == 201, reply.text
    return reply.json


async def test_a_webhook_from_its_making_to_its_end(house: House, receiver: Receiver) -> None:
    reply = await house.manage("POST", "/webhooks", {"url": receiver.url})
    hook = reply.json
    path = f"/webhooks/{hook['id']}"
    assert reply.headers["Location"] == f"/v1/merchant{path}"
    assert hook["secret"].startswith("whsec_")
    read = await house.manage("GET", path)
    assert read.json == {name: value for name, value in hook.items() if name != "secret"}
    sale = await house.sale()
    order = (await house.order(sale)).json["id"]
    await house.settle()
    await deliveries(house).deliver_due()
    assert sorted(receiver.types()) == ["order.confirmed", "sale.scheduled"]
    for told in receiver.told:
        Webhook(hook["secret"]).verify(told.body, dict(told.headers))
    listed = (await house.manage("GET", path + "/deliveries")).json["items"]
    assert [(each["type"], each["order_id"], each["state"]) for each in listed] == [
        ("order.confirmed", order, "delivered"),
        ("sale.scheduled", None, "delivered"),
    ]
    assert {each["id"] for each in listed} == {told.id for told in receiver.told}
    assert (await house.manage("DELETE", path)).status == 204
    for method in ("GET", "DELETE"):
        gone = await house.manage(method, path)
        assert (gone.status, gone.code) == (404, "unknown_webhook")
    assert (await house.manage("GET", "/webhooks")).json == {"items": [], "next_cursor": None}


async def test_lists_are_paged(house: House, receiver: Receiver) -> None:
    hooks = [(await made(house, receiver))["id"] for _ in range(3)]
    for _ in range(3):
        assert (await house.manage("POST", f"/webhooks/{hooks[0]}/test")).status == 202
    for path, expected in (
        ("/webhooks?limit=2", 3),
        (f"/webhooks/{hooks[0]}/deliveries?limit=2", 3),
        (f"/webhooks/{hooks[0]}/deliveries?limit=2&state=pending", 3),
        (f"/webhooks/{hooks[0]}/deliveries?state=dead", 0),
    ):
        found, following = [], path
        while following:
            page = (await house.manage("GET", following)).json
            assert len(page["items"]) <= 2
            found += [each["id"] for each in page["items"]]
            following = page["next_cursor"] and f"{path}&cursor={page['next_cursor']}"
        assert len(set(found)) == len(found) == expected
    for path in (
        *("/webhooks?cursor=x", f"/webhooks/{hooks[0]}/deliveries?cursor=evt_x"),
        *("/webhooks?state=dead", f"/webhooks/{hooks[0]}/deliveries?state=lost"),
        f"/webhooks/{hooks[0]}/deliveries?state=dead&state=pending",
    ):
        assert (await house.manage("GET", path)).code == "validation_failed"


async def test_a_secret_is_shown_where_it_is_made_and_never_again(
    house: House, receiver: Receiver
) -> None:
    hook = await made(house, receiver)
    rotated = (await house.manage("POST", f"/webhooks/{hook['id']}/rotate")).json
    assert rotated["secret"] != hook["secret"]
    assert rotated["rotated_until"] is not None
    await house.manage("POST", f"/webhooks/{hook['id']}/test")
    for path in ("/webhooks", f"/webhooks/{hook['id']}", f"/webhooks/{hook['id']}/deliveries"):
        text = (await house.manage("GET", path)).text
        assert hook["secret"] not in text
        assert rotated["secret"] not in text
    log = await house.shop.pool.fetchval(
        "SELECT coalesce(string_agg(entry, ''), '') FROM audit_log"
    )
    assert hook["id"] in log
    assert hook["secret"] not in log
    await deliveries(house).deliver_due()
    for secret in (hook["secret"], rotated["secret"]):
        Webhook(secret).verify(receiver.told[0].body, dict(receiver.told[0].headers))


async def test_test_and_replay(house: House, receiver: Receiver) -> None:
    hook = await made(house, receiver, "order.paid")
    path = f"/webhooks/{hook['id']}"
    sent = await house.manage("POST", path + "/test")
    assert (sent.status, sent.json["type"], sent.json["state"]) == (202, "webhook.test", "pending")
    again = await house.manage("POST", f"{path}/deliveries/{sent.json['id']}/replay")
    assert (again.status, again.code) == (409, "delivery_pending")
    receiver.respond(404)
    await deliveries(house).deliver_due()
    await deliveries(house, timedelta(days=4)).deliver_due()
    replayed = await house.manage("POST", f"{path}/deliveries/{sent.json['id']}/replay")
    assert (replayed.status, replayed.json["state"]) == (202, "pending")
    assert [line["status"] for line in replayed.json["log"]] == [404, 204]
    await deliveries(house).deliver_due()
    assert [told.id for told in receiver.told] == [sent.json["id"]] * 3


async def test_what_was_given_up_is_replayed_together(house: House, receiver: Receiver) -> None:
    hook = await made(house, receiver)
    path = f"/webhooks/{hook['id']}"
    for _ in range(3):
        await house.manage("POST", path + "/test")
    receiver.respond(*[500] * 3)
    await deliveries(house, timedelta(days=4)).deliver_due()
    dead = (await house.manage("GET", path + "/deliveries?state=dead")).json["items"]
    assert len(dead) == 3
    assert {each["next_attempt_at"] for each in dead} == {None}
    for since, count in ((timedelta(hours=1), 0), (timedelta(hours=-1), 3), (timedelta(-1), 0)):
        form = {"since": (datetime.now(UTC) + since).isoformat(timespec="milliseconds")}
        reply = await house.manage("POST", path + "/replay", form)
        assert (reply.status, reply.json) == (202, {"replayed": count})
    await deliveries(house).deliver_due()
    assert len(receiver.told) == 6


async def test_a_disabled_webhook_is_enabled_again(house: House, receiver: Receiver) -> None:
    hook = await made(house, receiver)
    path = f"/webhooks/{hook['id']}"
    receiver.respond(410)
    await house.manage("POST", path + "/test")
    await deliveries(house).deliver_due()
    read = (await house.manage("GET", path)).json
    assert (read["state"], read["note"]) == ("disabled", "The endpoint answered 410 Gone.")
    assert (await house.manage("POST", path + "/test")).code == "webhook_disabled"
    enabled = (await house.manage("POST", path + "/enable")).json
    assert (enabled["state"], enabled["note"]) == ("active", None)
    assert (await house.manage("POST", path + "/test")).status == 202


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "ftp://example.com/"}, "/url"),
        ({"url": "https://169.254.169.254/"}, "/url"),
        ({"url": "https://nowhere.invalid/"}, "/url"),
        ({"url": 1}, "/url"),
        ({"url": "https://example.com/" + "a" * 2048}, "/url"),
        ({"types": ["order.nothing"]}, "/types/0"),
        ({"types": "order.paid"}, "/types"),
        ({"types": [*EVENT_TYPES, "order.paid"]}, "/types"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
async def test_forms_are_refused_by_field(house: House, change: dict, pointer: str) -> None:
    reply = await house.manage("POST", "/webhooks", {"url": "https://example.com/"} | change)
    assert (reply.code, reply.pointers) == ("validation_failed", [pointer])


async def test_there_are_only_so_many(house: House, receiver: Receiver) -> None:
    for _ in range(ENDPOINTS_MAX):
        last = await made(house, receiver)
    reply = await house.manage("POST", "/webhooks", {"url": receiver.url})
    assert (reply.status, reply.code) == (409, "webhook_limit")
    await house.manage("DELETE", f"/webhooks/{last['id']}")
    await made(house, receiver)


CALLS = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("POST", "/enable", None),
    ("POST", "/rotate", None),
    ("POST", "/test", None),
    ("POST", "/replay", {"since": "2026-01-01T00:00:00Z"}),
    ("GET", "/deliveries", None),
    ("POST", "/deliveries/evt_1/replay", None),
]


@pytest.mark.parametrize(("method", "call", "form"), CALLS)
async def test_strangers_and_readers_get_nowhere(
    house: House, receiver: Receiver, method: str, call: str, form: dict | None
) -> None:
    hook = await made(house, receiver)
    path = f"/webhooks/{hook['id']}{call}"
    theirs = await house.manage(method, path, form, bearer=house.other.api_key)
    assert (theirs.status, theirs.code) == (404, "unknown_webhook")
    for unknown in (NOWHERE, "x", "whk_AAAAAAAAAAAA"):
        reply = await house.manage(method, f"/webhooks/{unknown}{call}", form)
        assert (reply.status, reply.code) == (404, "unknown_webhook")
    key, record = generate(house.merchant.merchant_id, Scope.READ, now=datetime.now(UTC))
    await create_api_key(house.shop.pool, record)
    assert (await house.manage(method, path, form, bearer=key)).code == "scope_missing"
    assert (await house.manage("GET", f"/webhooks/{hook['id']}")).json["state"] == "active"


@pytest.mark.parametrize("name", ["evt_999999999", "evt_x", "x", "evt_-1", "evt_" + "9" * 30])
async def test_an_unknown_delivery(house: House, receiver: Receiver, name: str) -> None:
    hook = await made(house, receiver)
    reply = await house.manage("POST", f"/webhooks/{hook['id']}/deliveries/{name}/replay")
    assert (reply.status, reply.code) == (404, "unknown_delivery")
