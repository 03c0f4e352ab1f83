"""For operators: alive, ready, metrics. Readiness asks; it never repairs."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from flashsale.web.deps import DEPS, Probe
from flashsale.web.metrics import CONTENT_TYPE
from flashsale.web.render import json_response

PROBE_SECONDS_MAX = 2.0


async def healthz(_request: web.Request) -> web.Response:
    """Whether this process is alive."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether this process can serve, part by part."""
    probes = request.app[DEPS].probes
    answers = await asyncio.gather(*(_ask(probe) for probe in probes.values()))
    checks = dict(zip(probes, answers, strict=True))
    ready = all(check["ok"] for check in checks.values())
    return json_response({"ready": ready, "checks": checks}, status=200 if ready else 503)


async def _ask(probe: Probe) -> dict[str, Any]:
    try:
        async with asyncio.timeout(PROBE_SECONDS_MAX):
            wrong = await probe()
    except Exception:  # noqa: BLE001 - whatever it raises, what it asks about does not work
        wrong = "does not answer"
    return {"ok": wrong is None, "detail": wrong or "ok"}


async def metrics(request: web.Request) -> web.Response:
    """Metrics as Prometheus text, merged over the processes of this machine."""
    text = await asyncio.to_thread(request.app[DEPS].metrics.render)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
