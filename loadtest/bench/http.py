"""P1, P2 and P9: rates over HTTP, each app in turn every round, so noise meets all alike."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass

from loadtest.bench.fire import CONNECTIONS, Fired, Shape, fire
from loadtest.bench.stage import SKU, Stage, median

#: More than any of the apps answers in a second here; tokens are made for so many.
PER_SECOND_MAX = 80_000
_BODY = f'{{"sku":"{SKU}","quantity":1}}'


def order_shape(port: int, sale: str) -> Shape:
    """An order: a new buyer's token, a new key."""
    return Shape(
        f"POST /v1/sales/{sale}/orders HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n"
        "Authorization: Bearer ",
        "\r\nIdempotency-Key: bench-",
        f"\r\n\r\n{_BODY}",
    )


def read_shape(port: int, sale: str) -> Shape:
    """A public read; the token is only there to make requests of one size."""
    return Shape(
        f"GET /v1/sales/{sale} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer ",
        "\r\nX-Number: ",
        "\r\n\r\n",
    )


@dataclass(frozen=True, slots=True)
class Contender:
    """One thing to measure; `expects_2xx` False where every answer must be a refusal."""

    name: str
    port: int
    shape: Shape
    expects_2xx: bool = True


async def measure(stage: Stage, rounds: int, seconds: float) -> dict[str, float]:
    """Median answers a second of each contender, over `rounds`."""
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        engine = await start(stage.process("web", "flashsale", "web"))
        servers = (
            "--redis-url",
            stage.servers.redis_url,
            "--postgres-dsn",
            stage.servers.postgres_dsn,
        )
        ports = {
            kind: await start(stage.process(kind, "loadtest.bench.baselines", kind, *servers))
            for kind in ("bare", "evalsha", "hotrow")
        }
        selling, sold_out = await stage.sale(100_000_000), await stage.sold_out_sale()
        contenders = [
            Contender("bare", ports["bare"], order_shape(ports["bare"], selling)),
            Contender("orders", engine, order_shape(engine, selling)),
            Contender("refusals", engine, order_shape(engine, sold_out), expects_2xx=False),
            Contender("reads", engine, read_shape(engine, selling)),
            Contender("evalsha", ports["evalsha"], order_shape(ports["evalsha"], selling)),
            Contender("hotrow", ports["hotrow"], order_shape(ports["hotrow"], selling)),
        ]
        rates: dict[str, list[float]] = defaultdict(list)
        for number in range(rounds + 1):
            for each in contenders:
                # Round 0 warms everything up: caches, connections, plans.
                span = seconds if number else 1
                fired = await one(stage, each, f"{each.name}-{number}", span)
                if number:
                    rates[each.name].append(fired.per_second)
        return {name: median(values) for name, values in rates.items()}


async def one(stage: Stage, contender: Contender, name: str, seconds: float) -> Fired:
    """Fire at one of them; RuntimeError where an answer was not as it should be."""
    count = int(PER_SECOND_MAX * (seconds + 1)) + CONNECTIONS
    tokens = await asyncio.to_thread(stage.tokens, name, count)
    fired = await fire(contender.port, contender.shape, tokens, seconds)
    wrong = fired.not_2xx if contender.expects_2xx else fired.answered - fired.not_2xx
    if wrong or not fired.answered:
        raise RuntimeError(
            f"{name}: {wrong} of {fired.answered} answers were not as they should be"
        )
    return fired
