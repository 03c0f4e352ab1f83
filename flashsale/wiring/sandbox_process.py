"""Puts a sandbox process together. Holds no rule of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from flashsale.clients import StartError
from flashsale.config import Settings, plain, words
from flashsale.sandbox.app import serving

_LOG = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def sandbox(
    settings: Settings, *, host: str, port: int, share_port: bool, file: Path, callback_url: str
) -> AsyncIterator[tuple[str, int]]:
    """A sandbox process; yields the address it listens on. StartError in production mode."""
    if settings.mode == "production":
        raise StartError("The sandbox moves no real money and does not run in production mode.")
    key, secrets = plain(settings.sandbox_api_key), words(settings.sandbox_webhook_secrets)
    for name, given in (("api_key", key), ("webhook_secrets", secrets)):
        if not given:
            raise StartError(f"Set FLASHSALE_SANDBOX_{name.upper()}, here and for the engine.")
    async with serving(
        file,
        host=host,
        port=port,
        key=key or "",
        secrets=secrets,
        callback_url=callback_url,
        share_port=share_port,
    ) as address:
        _LOG.info("started", process="sandbox", host=address[0], port=address[1])
        yield address
