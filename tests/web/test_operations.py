"""Health, readiness and metrics; and what everyone is told while a store is away."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys

import asyncpg

from flashsale.reservation.errors import StoreUnavailableError
from flashsale.web.app import MissingExtensionError
from flashsale.web.metrics import FOLDER_VARIABLE, Metrics, SettlementMetrics
from tests.sales.shop import item
from tests.web.house import House, open_house


async def test_health_and_readiness(house: House) -> None:
    assert (await house.call("GET", "/healthz")).json == {"status": "ok"}
    ready = await house.call("GET", "/readyz")
    fine = {"ok": True, "detail": "ok"}
    assert (ready.status, ready.json) == (
        200,
        {"ready": True, "checks": {"redis": fine, "postgres": fine}},
    )


async def test_readiness_says_what_is_wrong(house: House) -> None:
    probes = house.deps.probes
    whole = dict(probes)

    async def gate() -> str | None:
        return "sale is being rebuilt"

    async def raises() -> str | None:
        raise StoreUnavailableError("secret address")

    async def hangs() -> str | None:
        await asyncio.sleep(60)
        return None

    try:
        probes.update(gate=gate, redis=raises, postgres=hangs)
        ready = await house.call("GET", "/readyz")
    finally:
        probes.clear()
        probes.update(whole)
    silent = {"ok": False, "detail": "does not answer"}
    checks = {
        "redis": silent,
        "postgres": silent,
        "gate": {"ok": False, "detail": "sale is being rebuilt"},
    }
    assert (ready.status, ready.json) == (503, {"ready": False, "checks": checks})


async def test_metrics_count_answers_and_refusals(house: House) -> None:
    def value(text: str, line: str) -> float:
        found = re.search(re.escape(line) + r" ([0-9.e+]+)", text)
        return float(found[1]) if found else 0.0

    answered = 'flashsale_http_requests_total{route="/v1/orders/{order}",status="404"}'
    refused = 'flashsale_refusals_total{code="unknown_order"}'
    before = (await house.call("GET", "/metrics")).text
    for _ in range(3):
        await house.call("GET", "/v1/orders/x", bearer=house.token("b"))
    reply = await house.call("GET", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=")
    for line in (answered, refused):
        assert value(reply.text, line) - value(before, line) == 3
    assert 'flashsale_http_request_seconds_bucket{le="0.001",route="/v1/' in reply.text


_COUNT = """
import sys
from flashsale.web.metrics import Metrics
metrics = Metrics()
metrics.refused("sold_out", int(sys.argv[1]))
metrics.gate_open.set(int(sys.argv[2]))
print(metrics.render().decode())
"""


def test_metrics_are_merged_over_processes(tmp_path) -> None:
    """The last of three processes answers for all of them."""
    environment = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    texts = [
        subprocess.run(
            [sys.executable, "-c", _COUNT, count, gate],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for count, gate in (("3", "1"), ("4", "0"), ("5", "1"))
    ]
    assert 'flashsale_refusals_total{code="sold_out"} 12.0' in texts[-1]
    assert "flashsale_gate_open 0.0" in texts[-1]


def test_without_a_shared_folder_a_process_answers_for_itself() -> None:
    assert FOLDER_VARIABLE not in os.environ
    metrics = Metrics()
    metrics.refused("sold_out", 3)
    metrics.counted("/v1/sales/{sale}/orders", 201, 2)
    metrics.gathered(2, 64)
    SettlementMetrics(metrics.registry).settled(orders=5, rejected=1, dead_letters=0, lag_ms=20)
    text = metrics.render().decode()
    assert "flashsale_reserve_requests_total 64.0" in text
    assert "flashsale_settled_orders_total 5.0" in text
    assert 'flashsale_settlement_lag_seconds_bucket{le="0.025"} 1.0' in text
    assert 'flashsale_settlement_lag_seconds_bucket{le="0.01"} 0.0' in text
    assert 'flashsale_refusals_total{code="sold_out"} 3.0' in text
    assert 'flashsale_http_requests_total{route="/v1/sales/{sale}/orders",status="201"} 2.0' in text


async def test_while_redis_takes_nothing_buyers_are_told_to_come_back(house: House) -> None:
    sale = await house.sale()
    limit = (await house.shop.redis.config_get("maxmemory"))["maxmemory"]
    await house.shop.redis.config_set("maxmemory", 1)
    try:
        away = await house.order(sale, "b", key="k")
    finally:
        await house.shop.redis.config_set("maxmemory", limit)
    assert (away.status, away.code) == (503, "recovering")
    assert int(away.headers["Retry-After"]) > 0
    assert "OOM" not in away.text
    again = await house.order(sale, "b", key="k")
    assert (again.status, "Idempotency-Replayed" in again.headers) == (201, False)


async def test_while_postgres_is_away_callers_are_told_to_come_back(house: House) -> None:
    """What needs Postgres says so; an order needs only Redis."""
    sale = await house.sale()
    assert (await house.order(sale)).status == 201
    name = await house.shop.pool.fetchval("SELECT current_database()")
    operator = await asyncpg.connect(house.shop.dsn.replace(name, "postgres"))
    try:
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        listed = await house.call("GET", "/v1/orders", bearer=house.token("b"))
        managed = await house.manage("GET", "/sales")
        ready = await house.call("GET", "/readyz")
        placed = await house.order(sale)
    finally:
        await operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await operator.close()
    for reply in (listed, managed):
        assert (reply.status, reply.code) == (503, "recovering")
        assert int(reply.headers["Retry-After"]) > 0
        assert name not in reply.text
    assert (ready.status, ready.json["checks"]["redis"]["ok"]) == (503, True)
    assert not ready.json["checks"]["postgres"]["ok"]
    assert placed.status == 201
    assert (await house.call("GET", "/readyz")).status == 200


async def test_too_many_at_once_are_turned_away_unharmed(schema, new_database, redis_url) -> None:
    async with (
        new_database(template=schema) as dsn,
        open_house(dsn, redis_url, waiting_max=1) as house,
    ):
        sale = await house.sale(items=[item(supply=100)])
        await house.shop.redis.execute_command("CLIENT", "PAUSE", 300)
        replies = await asyncio.gather(*(house.order(sale) for _ in range(10)))
        placed = [reply for reply in replies if reply.status == 201]
        busy = [reply for reply in replies if reply.status == 503]
        assert len(placed) + len(busy) == 10
        assert {reply.code for reply in busy} == {"busy"}
        assert all(int(reply.headers["Retry-After"]) > 0 for reply in busy)
        stock = (await house.manage("GET", f"/sales/{sale}")).json["items"][0]["stock"]
        assert stock["held"] == len(placed) > 0


def test_the_server_does_not_start_without_the_extensions() -> None:
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    code = "from flashsale.web.app import require_extensions; require_extensions()"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode != 0
    assert MissingExtensionError.__name__ in ran.stderr
