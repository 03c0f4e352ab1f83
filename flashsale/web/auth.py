"""Who calls: buyer tokens and API keys, checked before a handler runs. Never decides on a sale."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from multidict import MultiMapping

from flashsale.access.api_keys import ApiKeyRecord, Scope, allows, hash_key, is_api_key
from flashsale.access.keyring import Keyring
from flashsale.access.tokens import TOKEN_MAX_BYTES, Buyer, TokenRefusal
from flashsale.web.errors import Problem, ProblemError
from flashsale.web.limiting import UNLIMITED, Throttle
from flashsale.web.openapi import Auth

BUYER = web.RequestKey("BUYER", Buyer)
API_KEY = web.RequestKey("API_KEY", ApiKeyRecord)

_SCHEME = "bearer "
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="flashsale"'}
_REFUSED = {"WWW-Authenticate": 'Bearer realm="flashsale", error="invalid_token"'}
_TOKEN_MISSING = Problem("token_invalid", headers=_CHALLENGE)
_KEY_REFUSED = Problem("api_key_invalid", headers=_REFUSED)

#: What each refusal of a token is answered with. An unknown key, after a reload, is just invalid.
TOKEN_PROBLEMS = {
    TokenRefusal.TOKEN_INVALID: Problem("token_invalid", headers=_REFUSED),
    TokenRefusal.TOKEN_EXPIRED: Problem("token_expired", headers=_REFUSED),
    TokenRefusal.TOKEN_TOO_LONG: Problem("token_too_long"),
    TokenRefusal.KEY_UNKNOWN: Problem("token_invalid", headers=_REFUSED),
}


@dataclass(frozen=True, slots=True)
class Access:
    """What knows the callers, and how often each may call.

    `find_api_key` takes a key's hash; `now` has a time zone.
    """

    keyring: Keyring
    find_api_key: Callable[[str], Awaitable[ApiKeyRecord | None]]
    now: Callable[[], datetime]
    throttle: Throttle = UNLIMITED

    async def admit(self, request: web.Request, auth: Auth) -> None:
        """Check who calls and note it on the request as BUYER or API_KEY, else ProblemError."""
        match auth:
            case Auth.NONE:
                return
            case Auth.BUYER:
                request[BUYER] = await self.buyer(request.headers)
            case _:
                key = request[API_KEY] = await self.api_key(request.headers)
                # Noted first: what a key tries without the scope for it is written down.
                require(key, Scope(auth.value))

    async def buyer(self, headers: MultiMapping[str]) -> Buyer:
        """The buyer whom the bearer token names, counted; ProblemError otherwise."""
        token = bearer(headers)
        if token is None:
            raise ProblemError(_TOKEN_MISSING)
        answer = await self.keyring.verify(token, self.now().timestamp())
        if isinstance(answer, TokenRefusal):
            raise ProblemError(TOKEN_PROBLEMS[answer])
        await self.throttle.by_buyer(answer)
        return answer

    def known_buyer(self, headers: MultiMapping[str]) -> Buyer | None:
        """The buyer, where that takes no look-up; None where `buyer` has something to say.

        Nobody is counted here.
        """
        token = bearer(headers)
        if token is None:
            return None
        answer = self.keyring.verifier.verify(token, time.time())
        return None if isinstance(answer, TokenRefusal) else answer

    async def api_key(self, headers: MultiMapping[str]) -> ApiKeyRecord:
        """The API key presented, where it is usable; ProblemError otherwise."""
        key = bearer(headers)
        if key is None:
            raise ProblemError(Problem("api_key_invalid", headers=_CHALLENGE))
        if len(key) > TOKEN_MAX_BYTES:
            raise ProblemError(TOKEN_PROBLEMS[TokenRefusal.TOKEN_TOO_LONG])
        record = await self.find_api_key(hash_key(key)) if is_api_key(key) else None
        if record is None or not record.is_usable(self.now()):
            raise ProblemError(_KEY_REFUSED)
        return record


def require(key: ApiKeyRecord, needed: Scope) -> None:
    """ProblemError where the key lacks the scope needed."""
    if not allows(key.scope, needed):
        raise ProblemError(Problem("scope_missing", f"This call needs the scope {needed}."))


def bearer(headers: MultiMapping[str]) -> str | None:
    """The bearer token of a request; None where there is none, or more than one."""
    values = headers.getall("Authorization", [])
    if len(values) != 1 or values[0][: len(_SCHEME)].lower() != _SCHEME:
        return None
    return values[0][len(_SCHEME) :].strip()
