"""What commands share: options, settings, and running until done or told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import uvloop

from flashsale.clients import StartError, UnreachableError, servers_answer
from flashsale.config import Settings, load_settings
from flashsale.embedded.credentials import Credentials
from flashsale.embedded.play_money import load as load_play_money

_Result = TypeVar("_Result")


def path(given: str) -> Path:
    """A path that is not empty, as that of a variable that is not set would be."""
    if not given:
        raise typer.BadParameter("it is empty: name a path.")
    return Path(given)


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        parser=path,
        metavar="PATH",
        help="The folder of a running `flashsale up`; else FLASHSALE_… variables.",
    ),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on; loopback by default.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.")]
WaitSeconds = Annotated[
    int, typer.Option(min=0, max=3600, help="How long to wait for servers that are starting.")
]
WebProcesses = Annotated[int, typer.Option(min=1, max=64, help="They share the port.")]


class Stopped(Exception):  # noqa: N818 - no error
    """A signal asked the command to end, and it has ended in good order."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def settings_for(data_dir: Path | None) -> Settings:
    """The settings, with the servers and the sandbox of `data_dir` where one is given.

    Raises ConfigError and CredentialsError.
    """
    if data_dir is None:
        return load_settings()
    known = Credentials.load(data_dir)
    servers = {"FLASHSALE_REDIS_URL": known.redis_url, "FLASHSALE_POSTGRES_DSN": known.postgres_dsn}
    settings = load_settings({**os.environ, **servers})
    place = load_play_money(data_dir) if known.sandbox_url else None
    if place is None or not takes_play_money(settings):
        return settings
    return load_settings({**os.environ, **servers, **place.environment()})


def takes_play_money(settings: Settings) -> bool:
    """Whether the sandbox beside a bundled engine is to be its provider: nobody chose another."""
    return settings.payments.provider == "none" and settings.mode != "production"


def run(work: Coroutine[Any, Any, _Result], data_dir: Path | None = None) -> _Result:
    """The result of `work`; Stopped where SIGINT or SIGTERM ended it, its cleaning up done.

    Where the servers of `data_dir` do not answer, the error says what starts them.
    """
    with _hinting(data_dir):
        return uvloop.run(_stoppable(work))


def serve(
    work: Callable[[], Coroutine[Any, Any, None]],
    data_dir: Path | None = None,
    *,
    settings: Settings | None = None,
    wait_seconds: float = 0,
) -> None:
    """Run `work`, which only ends by itself where it fails, until a signal: that is a good end.

    With `wait_seconds`, servers that do not answer yet are waited for.
    """

    async def begun() -> None:
        if settings is not None and wait_seconds:
            await servers_answer(settings, wait_seconds)
        await work()

    with contextlib.suppress(Stopped):
        run(begun(), data_dir)


async def _stoppable(work: Coroutine[Any, Any, _Result]) -> _Result:
    working = asyncio.ensure_future(work)
    signals: list[int] = []

    def stop(number: int) -> None:
        if not signals:  # once: a second signal must not interrupt the cleaning up
            signals.append(number)
            working.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await working
    except asyncio.CancelledError:
        if signals:
            raise Stopped(signals[0]) from None
        raise


@contextlib.contextmanager
def _hinting(data_dir: Path | None) -> Iterator[None]:
    try:
        yield
    except UnreachableError as error:
        if data_dir is None:
            raise
        told = str(error).partition(": check ")[0]
        raise StartError(f"{told}: is `flashsale up --data-dir {data_dir}` running?") from None
