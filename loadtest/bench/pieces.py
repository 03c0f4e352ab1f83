"""What the pieces of an order cost in the web process: `python -m loadtest.bench.pieces`.

Microseconds of processor time each, best of several rounds, on inputs that differ every time. What
a piece costs inside a busy process is more: caches are colder there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import hiredis
import orjson
from multidict import CIMultiDict, CIMultiDictProxy

from flashsale.access.buyer_keys import generate_buyer_key
from flashsale.access.tokens import TokenVerifier, fast_issuer
from flashsale.domain.identity import order_hash
from flashsale.domain.money import Money
from flashsale.domain.orders import OrderState
from flashsale.orders.values import OrderView
from flashsale.web.auth import bearer
from flashsale.web.body import parse_order_body
from flashsale.web.fast import wire
from flashsale.web.idempotency import idempotency_key
from flashsale.web.render import order

COUNT = 50_000
ROUNDS = 5
BATCH = 32


def cost(piece: Callable[[int], object], count: int = COUNT) -> float:
    """Microseconds of a call, best of `ROUNDS`."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for number in range(count):
            piece(number)
        best = min(best, time.process_time() - begun)
    return best / count * 1e6


def main() -> None:
    """Print one line a piece."""
    key = generate_buyer_key("mer_bench")
    verifier, now = TokenVerifier({key.kid: key}), time.time()
    issue = fast_issuer(key, now=now)
    tokens = [issue(f"buyer-{number:08d}") for number in range(COUNT)]
    headers = CIMultiDictProxy(
        CIMultiDict({"Authorization": f"Bearer {tokens[0]}", "Idempotency-Key": "key-1"})
    )
    body = b'{"sku":"phone","quantity":1}'
    secret, sale = b"s" * 32, "abcdefghijkl"
    price = Money(149_900, "CNY")
    view = OrderView("o" * 32, sale, "phone", 1, OrderState.RESERVED, 1_800_000_000_000, price)
    call: tuple[str | int, ...] = ("EVALSHA", "d" * 40, 6, *("k" * 30,) * 6, 1, BATCH)
    call += ("o" * 20, "buyer-00000001", 0, 1) * BATCH
    pieces: dict[str, float] = {
        "token: signature and claims": cost(lambda n: verifier.verify(tokens[n], now)),
        "headers: bearer, idempotency key": cost(
            lambda _: (bearer(headers), idempotency_key(headers))
        ),
        "body": cost(lambda _: parse_order_body(body)),
        "order id": cost(lambda n: order_hash(secret, sale, f"buyer-{n}", "key-1")),
        "render and frame the answer": cost(lambda _: wire(201, "", orjson.dumps(order(view)))),
        f"pack the script call, a share of {BATCH}": cost(
            # hiredis' stub describes a tuple of one.
            lambda _: hiredis.pack_command(call),  # type: ignore[arg-type]
            COUNT // BATCH,
        )
        / BATCH,
    }
    for name, microseconds in pieces.items():
        print(f"{microseconds:6.2f} us  {name}")


if __name__ == "__main__":
    main()
