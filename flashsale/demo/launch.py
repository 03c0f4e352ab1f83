"""Announces a launch as its merchant does, over the API. Never writes to a store."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from flashsale.access.queries import load_buyer_keys
from flashsale.clients import StartError
from flashsale.demo.crowd import Mix
from flashsale.demo.plan import Plan
from flashsale.embedded.credentials import Credentials
from flashsale.sentences import told

SKU = "phone-black-128"
PRICE = {"amount": 199_900, "currency": "CNY"}
CALL_SECONDS_MAX = 10.0


class LaunchError(StartError):
    """The launch cannot be held; one line that says why."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A scheduled sale and what it takes to buy in it."""

    sale: str
    sku: str
    units: int
    starts_at_ms: int
    merchant_id: str
    kid: str
    secret: str


async def announce(
    credentials: Credentials,
    *,
    name: str,
    units: int,
    opens_in_seconds: float,
    lasts_seconds: float,
    hold_seconds: int,
) -> Launch:
    """Create a sale of `units`, one a buyer, and schedule it. Raises LaunchError."""
    starts_at = datetime.now(UTC) + timedelta(seconds=opens_in_seconds)
    body = {
        "name": name,
        "kind": "launch",
        "starts_at": _rfc3339(starts_at),
        "ends_at": _rfc3339(starts_at + timedelta(seconds=lasts_seconds)),
        "items": [{"sku": SKU, "name": name, "price": PRICE, "supply": units}],
        "per_buyer_limit": 1,
        "hold_seconds": hold_seconds,
        "published_supply": True,
    }
    try:
        sale = await _call(credentials, "/v1/merchant/sales", body)
        await _call(credentials, f"/v1/merchant/sales/{sale['id']}/schedule", {})
    except (aiohttp.ClientError, TimeoutError) as error:
        raise LaunchError(f"{credentials.base_url} does not answer: {told(error)}") from error
    opening = datetime.fromisoformat(sale["starts_at"])
    return Launch(
        sale=sale["id"],
        sku=SKU,
        units=units,
        starts_at_ms=round(opening.timestamp() * 1000),
        merchant_id=credentials.merchant_id,
        kid=await _kid(credentials),
        secret=credentials.buyer_signing_key,
    )


def crowd_plan(
    credentials: Credentials, launch: Launch, answers: Path, mix: Mix, *, rate: float | None = None
) -> Plan:
    """What a driver is told to send to a launch; buyers and keys of its own each time."""
    return Plan(
        base_url=credentials.base_url,
        sale=launch.sale,
        sku=launch.sku,
        units=launch.units,
        starts_at_ms=launch.starts_at_ms,
        merchant_id=launch.merchant_id,
        kid=launch.kid,
        secret=launch.secret,
        prefix=f"{secrets.token_hex(4)}-",
        answers_path=str(answers),
        rate=rate,
        mix=mix,
    )


def _rfc3339(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _call(credentials: Credentials, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {credentials.api_key}"}
    timeout = aiohttp.ClientTimeout(total=CALL_SECONDS_MAX)
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.post(credentials.base_url + path, json=body) as response,
    ):
        answer: dict[str, Any] = await response.json(content_type=None)
        if not response.ok:
            told = f"{answer.get('code')} {answer.get('detail', '')} {answer.get('errors', '')}"
            raise LaunchError(f"{path} was answered {response.status} {told.strip()}.")
        return answer


async def _kid(credentials: Credentials) -> str:
    """The name of the buyer key whose secret the credentials hold."""
    connection = await asyncpg.connect(credentials.postgres_dsn)
    try:
        keys = await load_buyer_keys(connection)
    finally:
        await connection.close()
    secret = credentials.buyer_signing_key.encode()
    for kid, key in keys.items():
        if key.merchant_id == credentials.merchant_id and key.secret == secret:
            return kid
    raise LaunchError("The buyer key of credentials.json is not in Postgres; start `flashsale up`.")
