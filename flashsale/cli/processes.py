"""Commands that run until they are stopped: the engine as a whole, and its processes one by one."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flashsale import wiring
from flashsale.cli.common import (
    DataDir,
    Host,
    Port,
    WaitSeconds,
    WebProcesses,
    path,
    serve,
    settings_for,
    takes_play_money,
)
from flashsale.clients import StartError, postgres_pool, redis_client
from flashsale.config import Settings, load_settings, plain
from flashsale.logs import configure_logs
from flashsale.payments.providers.sandbox import CALLBACK_PATH
from flashsale.supervisor import engine

SharePort = Annotated[bool, typer.Option("--share-port", help="Let several processes listen.")]
_HERE = Path("flashsale-data")
_IN_THE_OPEN = (
    "flashsale: other machines may reach this, without TLS: put a reverse proxy in front."
)


def up(
    data_dir: Annotated[
        Path,
        typer.Option(
            parser=path, metavar="PATH", help="Where data, logs and credentials.json live."
        ),
    ] = _HERE,
    host: Host = None,
    port: Port = None,
    web_processes: WebProcesses = 1,
) -> None:
    """Run everything on this machine until Ctrl-C; data is kept."""
    settings = load_settings()
    listening = host or settings.web.host

    async def work() -> None:
        await _reach_given_servers(settings)
        async with engine(
            data_dir,
            host=listening,
            port=settings.web.port if port is None else port,
            web_processes=web_processes,
            redis_url=plain(settings.redis_url),
            postgres_dsn=plain(settings.postgres_dsn),
            durability=settings.durability,
            play_money=takes_play_money(settings),
            stop_seconds_max=settings.web.stop_seconds_max,
        ) as started:
            typer.echo(f"ready {started.credentials.base_url}")
            sys.stdout.flush()
            if not is_loopback(listening):
                typer.echo(_IN_THE_OPEN, err=True)
            await asyncio.Event().wait()

    serve(work)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _reach_given_servers(settings: Settings) -> None:
    if settings.redis_url is not None:
        async with redis_client(settings):
            pass
    if settings.postgres_dsn is not None:
        async with postgres_pool(settings, 1, check_schema=False):
            pass


def web(
    host: Host = None,
    port: Port = None,
    share_port: SharePort = False,
    wait_seconds: WaitSeconds = 0,
    data_dir: DataDir = None,
) -> None:
    """Run one web process."""
    settings = settings_for(data_dir)
    configure_logs()

    async def work() -> None:
        async with wiring.web(
            settings,
            host=host or settings.web.host,
            port=settings.web.port if port is None else port,
            share_port=share_port,
        ):
            await asyncio.Event().wait()

    serve(work, data_dir, settings=settings, wait_seconds=wait_seconds)


def settle(
    name: Annotated[
        str | None,
        typer.Option(
            help="Take up at once what a process of this name left; no two may share a name."
        ),
    ] = None,
    wait_seconds: WaitSeconds = 0,
    data_dir: DataDir = None,
) -> None:
    """Run one settlement process; several share the work."""
    if name is not None and (not name.strip() or len(name) > 100 or not name.isprintable()):
        raise typer.BadParameter("--name is empty, longer than 100 characters or not printable")
    settings = settings_for(data_dir)
    configure_logs()
    work = partial(wiring.settle, settings, name=name)
    serve(work, data_dir, settings=settings, wait_seconds=wait_seconds)


def dispatch(wait_seconds: WaitSeconds = 0, data_dir: DataDir = None) -> None:
    """Run one dispatch process, which carries money and messages out; several share the work."""
    settings = settings_for(data_dir)
    configure_logs()
    work = partial(wiring.dispatch, settings)
    serve(work, data_dir, settings=settings, wait_seconds=wait_seconds)


def timekeeper(wait_seconds: WaitSeconds = 0, data_dir: DataDir = None) -> None:
    """Run one timekeeper; of several, one at a time acts."""
    settings = settings_for(data_dir)
    configure_logs()
    work = partial(wiring.timekeeper, settings)
    serve(work, data_dir, settings=settings, wait_seconds=wait_seconds)


def sandbox(
    host: Annotated[str, typer.Option(help="A loopback address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8090,
    storage: Annotated[Path, typer.Option(help="Its file, made where it is missing.")] = Path(
        "sandbox.db"
    ),
    callback_url: Annotated[
        str | None, typer.Option(help="Where callbacks go; the engine's own address by default.")
    ] = None,
    share_port: SharePort = False,
    data_dir: DataDir = None,
) -> None:
    """Run the sandbox: a payment provider for trying things out, on this machine only."""
    settings = settings_for(data_dir)
    configure_logs()
    if not is_loopback(host):
        raise StartError(f"The sandbox takes anybody's play money: {host} is not loopback.")
    engine_at = f"http://{settings.web.host}:{settings.web.port}"
    callbacks = callback_url or engine_at + CALLBACK_PATH

    async def work() -> None:
        async with wiring.sandbox(
            settings,
            host=host,
            port=port,
            share_port=share_port,
            file=storage,
            callback_url=callbacks,
        ):
            await asyncio.Event().wait()

    serve(work)
