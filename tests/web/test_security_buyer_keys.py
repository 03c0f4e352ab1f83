"""Rotation of the keys that buyer tokens are signed with, as a merchant does it over HTTP."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import PublicFormat as Public

from flashsale.access.merchant_keys import SERVING_KEYS_MAX
from flashsale.access.queries import NewMerchant, create_merchant, list_buyer_keys
from tests.sales.shop import now, rfc3339
from tests.web.house import House, Reply


@pytest.fixture
async def merchant(house: House) -> NewMerchant:
    """A merchant of the test's own, whose keys nobody else counts."""
    created = await create_merchant(house.shop.pool, "Rotating", now=now())
    await house.deps.access.keyring.refresh()
    return created


def signed(merchant: NewMerchant, secret: object, kid: str, algorithm: str = "HS256") -> str:
    at = time.time()
    claims = {"iss": merchant.merchant_id, "sub": "alice", "iat": at, "exp": at + 60}
    return jwt.encode(claims, secret, algorithm, headers={"kid": kid})


async def serves(house: House, token: str) -> bool:
    reply = await house.call("GET", "/v1/orders", bearer=token)
    assert reply.status == 200 or reply.code == "token_invalid"
    return reply.status == 200


async def make(house: House, merchant: NewMerchant, **form: object) -> Reply:
    form = {"algorithm": "HS256", "label": "new", **form}
    return await house.manage("POST", "/buyer-keys", form, bearer=merchant.api_key)


async def states(house: House, merchant: NewMerchant) -> dict[str, str]:
    listed = await house.manage("GET", "/buyer-keys", bearer=merchant.api_key)
    return {key["kid"]: key["state"] for key in listed.json["items"]}


async def retire(house: House, merchant: NewMerchant, kid: str, **after: float) -> Reply:
    value = {"retires_at": rfc3339(now() + timedelta(**after))}
    path = f"/buyer-keys/{kid}/retire"
    return await house.manage("POST", path, value, bearer=merchant.api_key)


async def test_a_date_that_has_passed_ends_nobodys_session(house: House, merchant) -> None:
    await make(house, merchant)
    refused = await retire(house, merchant, merchant.buyer_key.kid, hours=-1)
    assert (refused.status, refused.pointers) == (422, ["/retires_at"])
    assert set((await states(house, merchant)).values()) == {"active"}


async def test_a_key_is_replaced_without_one_refused_buyer(house: House, merchant) -> None:
    old = merchant.buyer_key
    old_token = signed(merchant, old.secret, old.kid)
    new = (await make(house, merchant)).json
    new_token = signed(merchant, new["secret"], new["kid"])
    await house.deps.access.keyring.refresh()
    assert await serves(house, new_token)
    retiring = await retire(house, merchant, old.kid, hours=1)
    assert (retiring.status, retiring.json["state"]) == (200, "retiring")
    await house.deps.access.keyring.refresh()
    assert await serves(house, old_token)
    assert await serves(house, new_token)
    # The instant comes; nobody has to write it down.
    await house.shop.pool.execute(
        "UPDATE merchant_buyer_keys SET retires_at = now() WHERE kid = $1", old.kid
    )
    await house.deps.access.keyring.refresh()
    assert not await serves(house, old_token)
    assert await serves(house, new_token)
    assert await states(house, merchant) == {old.kid: "retired", new["kid"]: "active"}


async def test_a_secret_is_answered_once(house: House, merchant) -> None:
    new = (await make(house, merchant)).json
    listed = await house.manage("GET", "/buyer-keys", bearer=merchant.api_key)
    assert new["secret"] not in listed.text
    assert merchant.buyer_key.secret.decode() not in listed.text
    log = await house.manage("GET", "/audit-log", bearer=merchant.api_key)
    assert log.json["items"][0]["action"] == "create_buyer_key"
    assert log.json["items"][0]["subject"] == new["kid"]
    assert new["secret"] not in log.text


async def test_a_merchant_may_keep_the_private_half(house: House, merchant) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo).decode()
    made = await make(house, merchant, algorithm="EdDSA", public_key=pem)
    assert (made.status, made.json["secret"], made.json["public_key"]) == (201, None, pem)
    await house.deps.access.keyring.refresh()
    assert await serves(house, signed(merchant, private, made.json["kid"], "EdDSA"))
    # The public half is no secret that an HS256 token could be signed with.
    forged = jwt.PyJWS().encode(
        jwt.encode({}, "x" * 32).encode(), b"x" * 32, headers={"kid": made.json["kid"]}
    )
    assert not await serves(house, forged)


@pytest.mark.parametrize("kind", ["none", "private", "ed448", "rest"])
async def test_what_is_no_public_key_is_refused_and_not_repeated(
    house: House, merchant, kind: str
) -> None:
    private = Ed25519PrivateKey.generate()
    sent = {
        "none": None,
        "private": private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ).decode(),
        "ed448": Ed448PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo)
        .decode(),
        "rest": "-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----\n",
    }[kind]
    reply = await make(house, merchant, algorithm="EdDSA", public_key=sent)
    assert (reply.code, reply.pointers) == ("validation_failed", ["/public_key"])
    assert sent is None or sent.splitlines()[1] not in reply.text
    reply = await make(house, merchant, public_key="mine")
    assert (reply.code, reply.pointers) == ("validation_failed", ["/public_key"])


async def test_one_key_always_stays(house: House, merchant) -> None:
    old = merchant.buyer_key
    assert (await retire(house, merchant, old.kid, hours=1)).code == "last_buyer_key"
    delete = await house.manage("DELETE", f"/buyer-keys/{old.kid}", bearer=merchant.api_key)
    assert (delete.status, delete.code) == (409, "last_buyer_key")
    new = (await make(house, merchant)).json
    assert (await retire(house, merchant, old.kid, hours=1)).status == 200
    # One that goes later is no successor.
    assert (await retire(house, merchant, new["kid"], hours=2)).code == "last_buyer_key"
    gone = await house.manage("DELETE", f"/buyer-keys/{old.kid}", bearer=merchant.api_key)
    assert (gone.status, gone.text) == (204, "")
    again = await retire(house, merchant, old.kid, hours=9)
    assert again.json["state"] == "retired"  # for good
    assert await states(house, merchant) == {old.kid: "retired", new["kid"]: "active"}


@pytest.mark.parametrize("locked", [True, False], ids=["as it is", "without the lock"])
async def test_two_retirements_at_once_leave_a_key(house: House, merchant, locked: bool) -> None:
    new = (await make(house, merchant)).json
    kids = [merchant.buyer_key.kid, new["kid"]]
    if locked:
        replies = await asyncio.gather(
            *(house.manage("DELETE", f"/buyer-keys/{kid}", bearer=merchant.api_key) for kid in kids)
        )
        assert sorted(reply.status for reply in replies) == [204, 409]
    else:  # the control: both look, and then both act on what they saw
        seen = [await list_buyer_keys(house.shop.pool, merchant.merchant_id) for _ in kids]
        for kid, listed in zip(kids, seen, strict=True):
            assert any(each.state == "active" and each.kid != kid for each in listed)
            await house.shop.pool.execute(
                "UPDATE merchant_buyer_keys SET state = 'retired', retired_at = now()"
                " WHERE kid = $1",
                kid,
            )
    left = [state for state in (await states(house, merchant)).values() if state == "active"]
    assert len(left) == (1 if locked else 0)


async def test_keys_are_bounded_and_a_strangers_are_unknown(house: House, merchant) -> None:
    for _ in range(SERVING_KEYS_MAX - 1):
        assert (await make(house, merchant)).status == 201
    assert (await make(house, merchant)).code == "too_many_buyer_keys"
    kid = merchant.buyer_key.kid
    theirs = await house.manage("DELETE", f"/buyer-keys/{kid}", bearer=house.other.api_key)
    assert (theirs.status, theirs.code) == (404, "unknown_buyer_key")
    odd = await house.manage("DELETE", "/buyer-keys/kid_%00", bearer=merchant.api_key)
    assert odd.code == "unknown_buyer_key"
