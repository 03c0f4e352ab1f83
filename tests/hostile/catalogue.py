"""Calls that the catalogue of bad input is made of; each row of it is one of these."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import jwt

from flashsale.access.tokens import LEEWAY_SECONDS
from tests.sales.shop import body, item, now, rfc3339
from tests.web.house import House
from tests.web.reply import Reply
from tests.web.till import callback, signed

ORDER = {"sku": "mi3-16", "quantity": 1}


@dataclass(frozen=True)
class Scene:
    """A house with a sale that is open, an order of a buyer's there, and sales of other states."""

    house: House
    sale: str
    draft: str
    later: str
    over: str
    buyer: str
    order: str


async def set_scene(house: House) -> Scene:
    """Everything the rows speak of."""
    sale, buyer = await house.sale(items=[item(supply=1000)]), house.buyer()
    over = await house.sale()
    assert (await house.manage("POST", f"/sales/{over}/close")).status == 200
    return Scene(
        house,
        sale,
        (await house.draft()).json["id"],
        await house.sale(starts_at=rfc3339(now() + timedelta(minutes=5))),
        over,
        buyer,
        await house.buy(sale, buyer, key="used"),
    )


class Row(NamedTuple):
    """What is sent, and the one answer to it; `pointers` name the fields at fault."""

    send: Callable[[Scene], Awaitable[Reply]]
    status: int
    code: str | None = None
    pointers: tuple[str, ...] | None = None


def raw(data: bytes, **headers: str) -> Callable[[Scene], Awaitable[Reply]]:
    """An order with this body."""

    async def send(scene: Scene) -> Reply:
        named = {"Idempotency-Key": "raw", **{n.replace("_", "-"): v for n, v in headers.items()}}
        token = scene.house.token(scene.house.buyer())
        path = f"/v1/sales/{scene.sale}/orders"
        return await scene.house.call("POST", path, bearer=token, headers=named, data=data)

    return send


def order(**changes: Any) -> Callable[[Scene], Awaitable[Reply]]:
    """An order whose fields are replaced."""
    return raw(json.dumps(ORDER | changes).encode())


def keyed(key: str | None, quantity: int = 1) -> Callable[[Scene], Awaitable[Reply]]:
    """An order of the scene's buyer under a key."""

    async def send(scene: Scene) -> Reply:
        headers = {} if key is None else {"Idempotency-Key": key}
        token, path = scene.house.token(scene.buyer), f"/v1/sales/{scene.sale}/orders"
        value = ORDER | {"quantity": quantity}
        return await scene.house.call("POST", path, value, bearer=token, headers=headers)

    return send


def at(place: Callable[[Scene], str], method: str = "POST") -> Callable[[Scene], Awaitable[Reply]]:
    """A new buyer's call of this path; an order, where it is one."""

    async def send(scene: Scene) -> Reply:
        token, value = scene.house.token(scene.house.buyer()), ORDER if method == "POST" else None
        headers = {"Idempotency-Key": "k"}
        return await scene.house.call(method, place(scene), value, bearer=token, headers=headers)

    return send


def orders_of(name: str) -> Callable[[Scene], Awaitable[Reply]]:
    """An order in the scene's sale of that name."""
    return at(lambda scene: f"/v1/sales/{getattr(scene, name)}/orders")


def token(
    headers: Mapping[str, Any] | None = None, algorithm: str | None = "HS256", **claims: Any
) -> Callable[[Scene], Awaitable[Reply]]:
    """An order with a token of these claims; None leaves one out, and numbers are from now."""

    async def send(scene: Scene) -> Reply:
        key = scene.house.merchant.buyer_key
        instants = {"iat": 0, "exp": 60} | {n: v for n, v in claims.items() if n in {"iat", "exp"}}
        moments = {name: int(time.time()) + off for name, off in instants.items()}
        named = {"iss": key.merchant_id, "sub": scene.house.buyer()} | claims | moments
        secret = claims.get("secret", key.secret) if algorithm else None
        named = {name: value for name, value in named.items() if name != "secret"}
        bearer = jwt.encode(named, secret, algorithm, {"kid": key.kid} | dict(headers or {}))
        return await scene.house.order(scene.sale, key="k", bearer=bearer)

    return send


def bearer(text: str) -> Callable[[Scene], Awaitable[Reply]]:
    """An order with this in place of a token."""

    async def send(scene: Scene) -> Reply:
        return await scene.house.order(scene.sale, key="k", bearer=text)

    return send


def tell(how: Mapping[str, Any] | None = None, **changes: Any) -> Callable[..., Awaitable[Reply]]:
    """A callback of the sandbox about a new payment; `how` it is signed."""

    async def send(scene: Scene) -> Reply:
        payment = await payment_of(scene)
        type_ = changes.pop("type_", "captured")
        event = callback(type_, payment | changes.pop("payment", {}), **changes)
        return await scene.house.tell(event, **(how or {}))

    return send


def forged(change: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]]) -> Any:
    """A callback that somebody had a hand in after it was signed."""

    async def send(scene: Scene) -> Reply:
        headers, sent = change(*signed(callback("captured", await payment_of(scene))))
        path = "/v1/providers/sandbox/webhooks"
        return await scene.house.call("POST", path, data=sent, headers=headers)

    return send


async def payment_of(scene: Scene) -> dict[str, Any]:
    """A payment that a new buyer has begun."""
    buyer = scene.house.buyer()
    begun = await scene.house.pay(await scene.house.buy(scene.sale, buyer), buyer)
    assert begun.status == 201, begun.text
    return dict(begun.json)


def sale(**changes: Any) -> Callable[[Scene], Awaitable[Reply]]:
    """A merchant's new sale whose fields are replaced."""

    async def send(scene: Scene) -> Reply:
        return await scene.house.manage("POST", "/sales", body(**changes))

    return send


def manage(
    method: str, path: str, value: Any = None, **more: Any
) -> Callable[[Scene], Awaitable[Reply]]:
    """A merchant's call; `{sale}` and the like in the path are the scene's."""

    async def send(scene: Scene) -> Reply:
        named = {name: getattr(scene, name) for name in ("sale", "draft", "order", "over")}
        return await scene.house.manage(method, path.format(**named), value, **more)

    return send


def packed(data: bytes) -> Callable[[Scene], Awaitable[Reply]]:
    """An order packed with gzip."""
    return raw(gzip.compress(data, mtime=0), Content_Encoding="gzip")


#: Seconds past the leeway, and within it, that no slow machine mistakes for one another.
PAST, WITHIN = -(LEEWAY_SECONDS + 5), 60
