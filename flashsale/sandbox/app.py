"""The sandbox over HTTP: parse, ask the book, answer. Decides nothing and logs no request."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs

from aiohttp import web
from pydantic import BaseModel, ValidationError

from flashsale.sandbox import facts, page
from flashsale.sandbox.answers import as_json, as_page, refusal, see_other
from flashsale.sandbox.book import STATEMENT_MAX, Outcome
from flashsale.sandbox.courier import Courier
from flashsale.sandbox.quick import BODY_BYTES_MAX, QuickCalls
from flashsale.sandbox.storage import Storage
from flashsale.sandbox.values import (
    REF_PREFIX,
    ChargeForm,
    Event,
    OpenForm,
    Payment,
    RefundForm,
    SandboxError,
    Switches,
    SwitchesChange,
    payment_of,
    token_of,
)
from flashsale.web import server
from flashsale.web.fast import Parts, fast

LATE_SECONDS = 0.1
Handler = Callable[[web.Request], Awaitable[Parts]]
_Form = TypeVar("_Form", bound=BaseModel)
_Result = TypeVar("_Result")


def now_ms() -> int:
    """The wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Sandbox:
    """One provider: its file, its courier, and the calls that need its key."""

    def __init__(self, storage: Storage, known: facts.Facts, courier: Courier, key: str) -> None:
        self._storage = storage
        self._book, self._secret, self.switches = known
        self._courier = courier
        self._authorization = f"Bearer {key}".encode()

    async def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await self._storage.run(work)

    def _tell(self, *outcomes: Outcome) -> None:
        for payment, event, _ in outcomes:
            if event is not None:
                switches = payment.switches_over(self.switches)
                self._courier.take(event, switches, 1 + switches.duplicate)

    async def take_up(self) -> None:
        """Hand the courier what an earlier process did not get delivered."""
        for event, left in await self._run(self._book.undelivered):
            self._courier.take(event, Switches(), left)

    async def capture_late(self) -> None:
        """Capture what late payers paid, for ever."""
        while True:
            await asyncio.sleep(LATE_SECONDS)
            late = await self._run(lambda c: self._book.capture_late(c, self.switches, now_ms()))
            self._tell(*late)

    def may(self, authorization: str) -> bool:
        """Whether a header carries the API key."""
        return hmac.compare_digest(authorization.encode(), self._authorization)

    def guarded(self, handler: Handler) -> Handler:
        """`handler` behind the API key."""

        async def check(request: web.Request) -> Parts:
            if not self.may(request.headers.get("Authorization", "")):
                raise SandboxError(401, "unauthorized", "The API key is not right.")
            return await handler(request)

        return check

    def _opened(self, outcome: Outcome) -> Parts:
        shown = self._shown(outcome.payment)
        return as_json(shown, 201 if outcome.created else 200)

    def _shown(self, payment: Payment) -> dict[str, object]:
        token = token_of(self._secret, payment.payment_id)
        return {**payment.shown(), "path": f"/checkout/{token}"}

    async def open(self, request: web.Request) -> Parts:
        """POST /v1/payments: the same payment for the same payment_id."""
        return await self.opened(await request.read())

    async def opened(self, body: bytes) -> Parts:
        """Open the payment that `body` asks for."""
        form = _form(body, OpenForm)
        return self._opened(await self._run(lambda c: self._book.open(c, form)))

    async def charge(self, request: web.Request) -> Parts:
        """POST /v1/charges: decided at once, told by a callback."""
        form = _form(await request.read(), ChargeForm)
        outcome = await self._run(lambda c: self._book.charge(c, form, self.switches, now_ms()))
        self._tell(outcome)
        return self._opened(outcome)

    async def read(self, request: web.Request) -> Parts:
        """GET /v1/payments/{ref}."""
        ref = request.match_info["ref"]
        return as_json(self._shown(await self._run(lambda c: self._book.find(c, ref))))

    async def movements(self, request: web.Request) -> Parts:
        """GET /v1/payments/{ref}/movements: its captures and refunds, as callbacks tell them."""
        ref = request.match_info["ref"]
        found = await self._run(lambda c: self._book.movements_of(c, ref))
        return as_json({"items": [event.told() for event in found]})

    async def expire(self, request: web.Request) -> Parts:
        """POST /v1/payments/{ref}/expire."""
        ref = request.match_info["ref"]
        outcome = await self._run(lambda c: self._book.expire(c, ref, self.switches, now_ms()))
        self._tell(outcome)
        return as_json(self._shown(outcome.payment))

    async def refund(self, request: web.Request) -> Parts:
        """POST /v1/refunds: once for each refund_id."""
        form = _form(await request.read(), RefundForm)
        outcome = await self._run(lambda c: self._book.refund(c, form, self.switches, now_ms()))
        self._tell(outcome)
        shown = {"ref": f"{REF_PREFIX}{form.refund_id}", "refund_id": form.refund_id}
        return as_json({**shown, "amount": form.amount}, 201 if outcome.created else 200)

    async def statement(self, request: web.Request) -> Parts:
        """GET /v1/statement?after=&limit=: captures and refunds, oldest first."""
        after = request.query.get("after") or None
        limit = request.query.get("limit", str(STATEMENT_MAX))
        if not limit.isdecimal() or not 0 < int(limit) <= STATEMENT_MAX:
            raise SandboxError(400, "bad_request", f"limit is 1 to {STATEMENT_MAX}.")
        found = await self._run(lambda c: self._book.movements(c, after, int(limit)))
        return as_json({"items": [_line(event) for event in found]})

    async def pending(self, _: web.Request) -> Parts:
        """GET /v1/pending: how much is still on its way to whoever listens."""
        return as_json(await self._run(self._book.pending))

    async def read_switches(self, _: web.Request) -> Parts:
        """GET /v1/switches."""
        return as_json(self.switches.model_dump())

    async def set_switches(self, request: web.Request) -> Parts:
        """PUT /v1/switches: those that are named change."""
        changed = (_form(await request.read(), SwitchesChange)).over(self.switches)
        await self._run(lambda c: facts.save_switches(c, changed))
        self.switches = changed
        return as_json(changed.model_dump())

    async def checkout(self, request: web.Request) -> Parts:
        """GET /checkout/{token}: the page."""
        ref = self._named(request.match_info["token"])
        payment = await self._run(lambda c: self._book.find(c, ref))
        return as_page(page.render(payment, now_ms()))

    async def act(self, request: web.Request) -> Parts:
        """POST /checkout/{token}: one of its buttons."""
        action = parse_qs(await request.text()).get("action", [""])[0]
        return await self.acted(request.match_info["token"], action)

    async def acted(self, token: str, action: str) -> Parts:
        """Do what a button says, and show the page again."""
        ref = self._named(token)
        try:
            outcome = await self._run(lambda c: self._acted(c, ref, action))
        except SandboxError as error:
            if error.status != 409:
                raise
            payment = await self._run(lambda c: self._book.find(c, ref))
            return as_page(page.render(payment, now_ms(), str(error)), 409)
        self._tell(outcome)
        return see_other(f"/checkout/{token}")

    def _acted(self, connection: sqlite3.Connection, ref: str, action: str) -> Outcome:
        if action == "pay":
            return self._book.pay(connection, ref, self.switches, now_ms())
        if action == "decline":
            return self._book.decline(connection, ref, self.switches, now_ms())
        if action == "late":
            return self._book.pay_late(connection, ref, self.switches)
        raise SandboxError(400, "bad_request", "action is pay, decline or late.")

    def _named(self, token: str) -> str:
        payment_id = payment_of(self._secret, token)
        if payment_id is None:
            raise SandboxError(404, "unknown_payment", "There is no such payment.")
        return REF_PREFIX + payment_id


def _line(event: Event) -> dict[str, object]:
    return {name: value for name, value in event.shown().items() if name != "seq"}


def _form(body: bytes, form: type[_Form]) -> _Form:
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise SandboxError(422, "invalid", f"{where}: {first['msg']}") from None


async def _alive(_: web.Request) -> Parts:
    return as_json({"status": "ok"})


def _route(method: str, path: str, handler: Handler) -> web.RouteDef:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return fast(*await handler(request))
        except SandboxError as error:
            return fast(*refusal(error))

    return web.route(method, path, answer)


def _routes(sandbox: Sandbox) -> list[web.RouteDef]:
    keyed = sandbox.guarded
    return [
        _route("POST", "/v1/payments", keyed(sandbox.open)),
        _route("GET", "/v1/payments/{ref}", keyed(sandbox.read)),
        _route("GET", "/v1/payments/{ref}/movements", keyed(sandbox.movements)),
        _route("POST", "/v1/payments/{ref}/expire", keyed(sandbox.expire)),
        _route("POST", "/v1/charges", keyed(sandbox.charge)),
        _route("POST", "/v1/refunds", keyed(sandbox.refund)),
        _route("GET", "/v1/statement", keyed(sandbox.statement)),
        _route("GET", "/v1/pending", keyed(sandbox.pending)),
        _route("GET", "/v1/switches", keyed(sandbox.read_switches)),
        _route("PUT", "/v1/switches", keyed(sandbox.set_switches)),
        _route("GET", "/checkout/{token}", sandbox.checkout),
        _route("POST", "/checkout/{token}", sandbox.act),
        _route("GET", "/healthz", _alive),
    ]


@contextlib.asynccontextmanager
async def serving(
    file: Path,
    *,
    host: str,
    port: int,
    key: str,
    secrets: tuple[str, ...],
    callback_url: str,
    share_port: bool = False,
) -> AsyncIterator[tuple[str, int]]:
    """A sandbox on the data in `file`; yields the address it listens on.

    Callbacks go to `callback_url`, signed with `secrets` (Standard Webhooks), the first the newest.
    """
    storage = Storage(file)
    try:
        known = await storage.run(facts.load)

        async def delivered(event: Event) -> None:
            await storage.run(lambda c: known.book.delivered(c, event.seq))

        courier = Courier(callback_url, secrets, delivered)
        sandbox = Sandbox(storage, known, courier, key)
        await sandbox.take_up()
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.add_routes(_routes(sandbox))
        quick = QuickCalls(sandbox.may, sandbox.opened, sandbox.acted)
        works = [asyncio.create_task(work()) for work in (courier.run, sandbox.capture_late)]
        try:
            async with server.serving(
                app, host=host, port=port, reuse_port=share_port, quick=quick
            ) as address:
                yield address
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
    finally:
        await storage.close()
