"""Sends one message over HTTP, to checked addresses only. Follows nothing, repeats nothing."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from flashsale.webhooks.addresses import Lookup, check_url, checked_lookup, system_lookup
from flashsale.webhooks.errors import AddressRefusedError

TIMEOUT_SECONDS = 10.0
ANSWER_BYTES_MAX = 4096
ERROR_CHARACTERS_MAX = 200
#: A name is asked for again after so long; connections in use keep the address that was checked.
_NAMES_SECONDS = 10

_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "flashsale",
    # What comes back is cut off at a few kilobytes, and is not unpacked before.
    "Accept-Encoding": "identity",
}


class Reply(NamedTuple):
    """What came of one attempt: a status, or an error in one line. `answer` is cut off."""

    status: int | None
    error: str | None = None
    answer: str | None = None
    retry_after_seconds: int = 0


class _CheckedResolver(AbstractResolver):
    """Gives the connector only addresses that were judged: it connects to these and no others."""

    def __init__(self, lookup: Lookup, *, allow_private: bool) -> None:
        self._lookup = lookup
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await checked_lookup(host, self._lookup, allow_private=self._allow_private)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in found
            if family in {socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET}
        ]

    async def close(self) -> None:
        pass


class Sender:
    """An HTTP client for `async with`. `allow_private` is for development machines only."""

    def __init__(
        self,
        *,
        allow_private: bool,
        lookup: Lookup = system_lookup,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._allow_private = allow_private
        self._lookup = lookup
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        resolver = _CheckedResolver(self._lookup, allow_private=self._allow_private)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # lanes are what bounds it, each its own endpoint
                resolver=resolver,
                ttl_dns_cache=_NAMES_SECONDS,
                keepalive_timeout=30,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=self._timeout,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send once; whatever goes wrong is in the reply."""
        assert self._session is not None, "a Sender is used inside `async with`"
        try:
            # Numbers never reach the resolver, so they are judged here.
            check_url(url, allow_private=self._allow_private)
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _beginning(response.content)
                return Reply(
                    response.status,
                    _redirected(response.status),
                    answer,
                    _seconds(response.headers.get("Retry-After")),
                )
        except AddressRefusedError as error:
            return Reply(None, f"Not sent: {error}")
        except TimeoutError:
            return Reply(None, f"No answer within {self._timeout.total:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            refused = _refusal_in(error)
            line = f"Not sent: {refused}" if refused else f"{type(error).__name__}: {error}"
            return Reply(None, line[:ERROR_CHARACTERS_MAX])


async def _beginning(content: aiohttp.StreamReader) -> str | None:
    """The first bytes of an answer as text; whoever sends more is cut off with its connection."""
    kept = b""
    while len(kept) < ANSWER_BYTES_MAX:
        chunk = await content.read(ANSWER_BYTES_MAX - len(kept))
        if not chunk:
            break
        kept += chunk
    # Postgres keeps no NUL.
    return kept.decode(errors="replace").replace("\0", "\ufffd") or None


def _redirected(status: int) -> str | None:
    return "Redirects are not followed." if 300 <= status < 400 else None


def _seconds(retry_after: str | None) -> int:
    plain = retry_after is not None and retry_after.isascii() and retry_after.isdigit()
    return int(retry_after[:9]) if retry_after is not None and plain else 0


def _refusal_in(error: BaseException) -> AddressRefusedError | None:
    """The refusal of an address that the client wrapped into an error of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefusedError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
