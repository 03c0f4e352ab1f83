"""Buyer tokens at the door: what is answered, by the hot route and by the routed ones."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode

import jwt
import pytest

from flashsale.access.buyer_keys import generate_buyer_key
from flashsale.access.queries import add_buyer_key, retire_buyer_key
from flashsale.access.tokens import issue_buyer_token
from tests.web.house import House


def signed(house: House, *, headers=None, secret=None, algorithm="HS256", **claims) -> str:
    key = house.merchant.buyer_key
    now = int(time.time())
    whole = {"iss": key.merchant_id, "sub": "b", "iat": now, "exp": now + 60} | claims
    return jwt.encode(
        {name: value for name, value in whole.items() if value is not None},
        key.secret if secret is None else secret,
        algorithm=algorithm,
        headers={"kid": key.kid} if headers is None else headers,
    )


def unsigned(house: House) -> str:
    genuine = signed(house).split(".")
    header = urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{header}.{genuine[1]}."


def now() -> int:
    return int(time.time())


BAD = {
    "nonsense": lambda _: "nonsense",
    "empty": lambda _: "",
    "an API key": lambda house: house.merchant.api_key,
    "alg none": unsigned,
    "cut": lambda house: signed(house)[:-2],
    "other secret": lambda house: signed(house, secret=b"x" * 32),
    "other alg": lambda house: signed(house, algorithm="HS512", secret=b"x" * 64),
    "unknown kid": lambda house: signed(house, headers={"kid": "nobody's"}),
    "other issuer": lambda house: signed(house, iss=house.other.merchant_id),
    "issued in the future": lambda house: signed(house, iat=now() + 60),
    "no expiry": lambda house: signed(house, exp=None),
    "no subject": lambda house: signed(house, sub=None),
    "no issue": lambda house: signed(house, iat=None),
    "a control character": lambda house: signed(house, sub="a\nb"),
}


async def both(house: House, bearer: str | None, **more):
    """An order and a list: the hot route where there is one, and a routed call."""
    sale = await house.sale()
    headers = {"Idempotency-Key": "k"} | more.get("headers", {})
    order = {"sku": "mi3-16", "quantity": 1}
    path = f"/v1/sales/{sale}/orders"
    yield await house.call("POST", path, order, bearer=bearer, headers=headers)
    yield await house.call("GET", "/v1/orders", bearer=bearer, headers=more.get("headers"))


@pytest.mark.parametrize("name", BAD)
async def test_a_token_that_is_not_genuine(either_house: House, name: str) -> None:
    token = BAD[name](either_house)
    async for reply in both(either_house, token):
        assert (reply.status, reply.code) == (401, "token_invalid")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert not token or token not in reply.text


@pytest.mark.parametrize(("age", "status"), [(-60, 201), (0, 201), (10, 401)])
async def test_expiry(either_house: House, age: int, status: int) -> None:
    token = signed(either_house, iat=now() - 100, exp=now() - age)
    async for reply in both(either_house, token):
        assert (reply.status == 401) == (status == 401)
        assert status != 401 or reply.code == "token_expired"


async def test_a_long_token_is_refused_before_anything_is_computed(either_house: House) -> None:
    async for reply in both(either_house, "a" * 2049):
        assert (reply.status, reply.code) == (400, "token_too_long")


@pytest.mark.parametrize("header", [None, "Basic YTpi", "Bearer", "token"])
async def test_no_bearer_token(either_house: House, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async for reply in both(either_house, None, headers=headers):
        assert (reply.status, reply.code) == (401, "token_invalid")


async def test_the_scheme_is_read_as_http_reads_it(either_house: House) -> None:
    headers = {"Authorization": f"bEARER {signed(either_house)}"}
    async for reply in both(either_house, None, headers=headers):
        assert reply.status in {200, 201}


async def test_a_new_key_is_known_at_once_and_a_retired_one_is_not(house: House) -> None:
    key = generate_buyer_key(house.merchant.merchant_id)
    token = issue_buyer_token(key, "b", now=time.time())
    await add_buyer_key(house.shop.pool, key)
    # Reloads for unknown keys are rationed; a test may have used this second's up.
    house.deps.access.keyring._reload = None
    async for reply in both(house, token):
        assert reply.status in {200, 201}
    await retire_buyer_key(house.shop.pool, key.merchant_id, key.kid)
    await house.deps.access.keyring.refresh()
    async for reply in both(house, token):
        assert (reply.status, reply.code) == (401, "token_invalid")


@pytest.mark.parametrize("key", [None, "", "nonsense", "fs_" + "a" * 43, "fs_" + "é" * 43])
async def test_api_keys_that_are_none(house: House, key: str | None) -> None:
    reply = await house.call("GET", "/v1/merchant/sales", bearer=key)
    assert (reply.status, reply.code) == (401, "api_key_invalid")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_buyers_token_is_no_api_key(house: House) -> None:
    reply = await house.call("GET", "/v1/merchant/sales", bearer=signed(house))
    assert (reply.status, reply.code) == (401, "api_key_invalid")
    long = await house.call("GET", "/v1/merchant/sales", bearer="fs_" + "a" * 2048)
    assert (long.status, long.code) == (400, "token_too_long")
