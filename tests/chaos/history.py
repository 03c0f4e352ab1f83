"""What the clients did and were answered, one line an operation. It judges nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import aiohttp

from tests.chaos.kept import now_ms

_SECONDS_MAX = 4.0
#: Members of answers that are worth keeping.
_KEPT = frozenset(
    {
        *("id", "state", "sku", "quantity", "hold_expires_at", "amount_due", "order_id"),
        *("purpose", "amount", "captured", "refunded", "note", "expires_at", "created_at"),
        *("code", "items", "stock", "payments", "at", "outcome"),
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`ok`: True yes, False refused, None unknown: it may have taken effect, also later."""

    ok: bool | None
    status: int | None
    body: dict[str, Any]
    location: str | None = None

    @property
    def code(self) -> str | None:
        """The code of a problem document."""
        return self.body.get("code")

    @property
    def state(self) -> str | None:
        """The state of the order or payment answered."""
        return self.body.get("state")


@dataclass(slots=True)
class History:
    """Sends requests and writes down what came of them."""

    session: aiohttp.ClientSession
    base_url: str
    file: TextIO
    counts: Counter[str] = field(default_factory=Counter)

    async def call(
        self,
        client: int,
        op: str,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        buyer: str = "",
        key: str | None = None,
        order: str | None = None,
        args: dict[str, Any] | None = None,
        **request: Any,
    ) -> Answer:
        """One operation; it gives up after some seconds and then knows nothing."""
        invoked = now_ms()
        url = path if path.startswith("http") else self.base_url + path
        sent = headers if key is None else headers | {"Idempotency-Key": key}
        answer, replayed = await self._send(method, url, sent, request)
        self.counts[f"{op} {answer.status}"] += 1
        line = {
            "client": client,
            "op": op,
            "key": key,
            "buyer": buyer,
            "order": order or (answer.body.get("id") if op == "reserve" else None),
            "args": args or {},
            "invoked": invoked,
            "returned": now_ms(),
            "ok": answer.ok,
            "status": answer.status,
            "code": answer.code,
            # The order's state, as all of these answer it; a payment's is in the body.
            "state": answer.state if op in {"reserve", "read", "cancel"} else None,
            "body": {name: answer.body[name] for name in _KEPT & answer.body.keys()}
            | ({"replayed": True} if replayed else {}),
        }
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
        return answer

    async def _send(
        self, method: str, url: str, headers: dict[str, str], request: dict[str, Any]
    ) -> tuple[Answer, bool]:
        try:
            async with asyncio.timeout(_SECONDS_MAX):
                async with self.session.request(
                    method, url, headers=headers, allow_redirects=False, **request
                ) as response:
                    text = await response.text()
                    status = response.status
                    replayed = "Idempotency-Replayed" in response.headers
        except (aiohttp.ClientError, OSError, TimeoutError, UnicodeDecodeError):
            return Answer(None, None, {}), False
        try:
            body = json.loads(text)
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        # A sale that is paused says so with a 503 as well, and that is no doubt but a refusal.
        unknown = status >= 500 and body.get("code") != "paused"
        return Answer(None if unknown else status < 400, status, body), replayed


def opened(folder: Path) -> TextIO:
    """The file of a run's history."""
    return (folder / "history.jsonl").open("w")
