"""The merchant's API keys: made, listed, revoked, and what each scope may do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flashsale.access.api_keys import Scope, generate
from flashsale.access.queries import create_api_key
from tests.sales.shop import now
from tests.web.house import House

NOWHERE = "aaaaaaaaaaaa"


async def test_api_keys(house: House) -> None:
    form = {"label": "till", "scope": "read"}
    made = (await house.manage("POST", "/api-keys", form)).json
    assert made["key"].startswith("fs_")
    assert (await house.manage("GET", "/sales", bearer=made["key"])).status == 200
    listed = await house.manage("GET", "/api-keys")
    assert made["key"] not in listed.text
    assert made["id"] in [key["id"] for key in listed.json["items"]]
    pages, path = [], "/api-keys?limit=1"
    while path:
        page = (await house.manage("GET", path)).json
        pages += [key["id"] for key in page["items"]]
        path = page["next_cursor"] and f"/api-keys?limit=1&cursor={page['next_cursor']}"
    assert pages == [key["id"] for key in listed.json["items"]]
    theirs = await house.manage("DELETE", f"/api-keys/{made['id']}", bearer=house.other.api_key)
    assert (theirs.status, theirs.code) == (404, "unknown_api_key")
    revoked = await house.manage("DELETE", f"/api-keys/{made['id']}")
    assert (revoked.status, revoked.text) == (204, "")
    assert (await house.manage("GET", "/sales", bearer=made["key"])).code == "api_key_invalid"
    for change, pointer in [
        ({"scope": "root"}, "/scope"),
        ({"label": "a\nb"}, "/label"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"key": "fs_mine"}, "/key"),
    ]:
        reply = await house.manage("POST", "/api-keys", form | change)
        assert (reply.code, reply.pointers) == ("validation_failed", [pointer])


async def test_no_key_revokes_itself(house: House) -> None:
    first, second = [
        (await house.manage("POST", "/api-keys", {"label": label, "scope": "admin"})).json
        for label in ("first", "second")
    ]
    own = await house.manage("DELETE", f"/api-keys/{first['id']}", bearer=first["key"])
    assert (own.status, own.code) == (409, "own_api_key")
    assert (await house.manage("GET", "/api-keys", bearer=first["key"])).status == 200
    other = await house.manage("DELETE", f"/api-keys/{first['id']}", bearer=second["key"])
    assert other.status == 204


async def key_of(house: House, scope: Scope, age: timedelta = timedelta()) -> str:
    """A key that expires an hour after it was made."""
    made = now() - age
    key, record = generate(
        house.merchant.merchant_id, scope, now=made, expires_at=made + timedelta(hours=1)
    )
    await create_api_key(house.shop.pool, record)
    return key


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/sales", Scope.READ),
        ("GET", f"/sales/{NOWHERE}/orders.csv", Scope.READ),
        ("POST", "/sales", Scope.MANAGE),
        ("PATCH", f"/sales/{NOWHERE}", Scope.MANAGE),
        ("POST", f"/sales/{NOWHERE}/close", Scope.MANAGE),
        ("POST", f"/sales/{NOWHERE}/supply", Scope.MANAGE),
        ("GET", "/api-keys", Scope.ADMIN),
        ("POST", "/api-keys", Scope.ADMIN),
        ("DELETE", f"/api-keys/{NOWHERE}", Scope.ADMIN),
    ],
)
async def test_scopes(house: House, method: str, path: str, needed: Scope) -> None:
    order = list(Scope)
    for scope in order:
        reply = await house.manage(method, path, bearer=await key_of(house, scope))
        refused = reply.status == 403
        assert refused == (order.index(scope) < order.index(needed))
        assert not refused or reply.code == "scope_missing"


async def test_an_expired_key_is_refused(house: House) -> None:
    key = await key_of(house, Scope.READ, timedelta(hours=1))
    reply = await house.manage("GET", "/sales", bearer=key)
    assert (reply.status, reply.code) == (401, "api_key_invalid")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")
