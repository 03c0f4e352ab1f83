"""Commands: parse, call, print. Exit codes: 0 done, 1 checked and wrong, 2 used wrongly."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import asyncpg
import orjson
import typer
import uvloop
from pydantic import SecretStr
from rich.console import Console
from typer.exceptions import TyperException

from flashsale import wiring
from flashsale.access import queries as access_queries
from flashsale.access.tokens import fast_issuer, is_subject
from flashsale.clients import StartError, lane_inspector, postgres_pool
from flashsale.config import ConfigError, Settings, load_settings
from flashsale.embedded.credentials import Credentials
from flashsale.embedded.errors import EmbeddedError
from flashsale.logs import configure_logs
from flashsale.reconciliation.audit import audit as run_audit
from flashsale.reconciliation.errors import ReconciliationError
from flashsale.reconciliation.report import render, to_json
from flashsale.reservation.errors import StoreError
from flashsale.settlement.migrate import MigrationError
from flashsale.settlement.migrate import migrate as run_migrations
from flashsale.shipped import shipped
from flashsale.supervisor import engine
from flashsale.web.openapi import document
from flashsale.web.routes import ROUTES

_Result = TypeVar("_Result")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A flash-sale and pre-order engine. Start with: flashsale demo",
)
merchant_app = typer.Typer(no_args_is_help=True, help="Merchants.")
token_app = typer.Typer(no_args_is_help=True, help="Tokens for trying things out.")
app.add_typer(merchant_app, name="merchant")
app.add_typer(token_app, name="token")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="The folder of a running `flashsale up`; else FLASHSALE_… variables."
    ),
]
_HERE = Path("flashsale-data")

#: What a command may end with that is no bug: one line each.
_EXPECTED = (
    ConfigError,
    StartError,
    EmbeddedError,
    MigrationError,
    ReconciliationError,
    StoreError,
    asyncpg.PostgresError,
    OSError,
)


def main() -> None:
    """The program. Every error is one plain line on standard error."""
    try:
        code = typer.main.get_command(app).main(standalone_mode=False)
    except TyperException as error:
        _fail(f"{error.format_message()} See: flashsale --help.")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except _EXPECTED as error:
        _fail(str(error) or type(error).__name__)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    typer.echo("flashsale: " + " ".join(message.split()), err=True)
    sys.exit(2)


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    return uvloop.run(work)


def _settings(data_dir: Path | None = None) -> Settings:
    """The settings, with the servers of `data_dir` where it is given."""
    settings = load_settings()
    if data_dir is None:
        return settings
    known = Credentials.load(data_dir)
    return settings.model_copy(
        update={
            "redis_url": SecretStr(known.redis_url),
            "postgres_dsn": SecretStr(known.postgres_dsn),
        }
    )


async def _until_stopped(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `work` until SIGINT or SIGTERM sets its event."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    await work(stop)


@app.command(epilog="Example: flashsale demo --units 20000")
def demo(
    units: Annotated[int, typer.Option(min=1, max=10_000_000, help="Units on sale.")] = 150_000,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running and print the URLs.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Keep the data in this folder.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write the final screen as SVG.")] = None,
    web_processes: Annotated[int, typer.Option(min=1, max=64)] = 1,
) -> int:
    """Sell out a launch on this machine, settle it, audit it and say what happened."""
    from flashsale.demo.demo import run_demo  # noqa: PLC0415 - heavy, and only this needs it

    work = run_demo(
        units, keep=keep, data_dir=data_dir, picture=picture, web_processes=web_processes
    )
    return _run(work)


@app.command(epilog="Example: flashsale up --port 8080")
def up(
    data_dir: Annotated[
        Path, typer.Option(help="Where data, logs and credentials.json live.")
    ] = _HERE,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; loopback by default.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.")] = None,
    web_processes: Annotated[int, typer.Option(min=1, max=64)] = 1,
) -> None:
    """Run everything on this machine until Ctrl-C; the data survives a restart."""
    settings = load_settings()

    async def serve(stop: asyncio.Event) -> None:
        async with engine(
            data_dir,
            host=host or settings.web.host,
            port=settings.web.port if port is None else port,
            web_processes=web_processes,
            redis_url=_plain(settings.redis_url),
            postgres_dsn=_plain(settings.postgres_dsn),
            redis_config=shipped("config") / "redis.conf",
        ) as started:
            typer.echo(f"ready {started.credentials.base_url}")
            sys.stdout.flush()
            await stop.wait()

    _run(_until_stopped(serve))


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


@app.command(epilog="Example: flashsale web --port 8080 --share-port")
def web(
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
    share_port: Annotated[
        bool, typer.Option("--share-port", help="Let several processes listen.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run one web process."""
    settings = _settings(data_dir)
    configure_logs()

    async def serve(stop: asyncio.Event) -> None:
        async with wiring.web(
            settings,
            host=host or settings.web.host,
            port=settings.web.port if port is None else port,
            share_port=share_port,
        ) as (address, bound):
            typer.echo(f"listening on {address}:{bound}", err=True)
            await stop.wait()

    _run(_until_stopped(serve))


@app.command(epilog="Example: flashsale settle --data-dir flashsale-data")
def settle(data_dir: DataDir = None) -> None:
    """Run one settlement process; several share the work."""
    settings = _settings(data_dir)
    configure_logs()
    _run(_until_stopped(lambda stop: wiring.settle(settings, stop)))


@app.command(epilog="Example: flashsale timekeeper --data-dir flashsale-data")
def timekeeper(data_dir: DataDir = None) -> None:
    """Run one timekeeper; of several, one at a time acts."""
    settings = _settings(data_dir)
    configure_logs()
    _run(_until_stopped(lambda stop: wiring.timekeeper(settings, stop)))


@app.command(epilog="Example: FLASHSALE_POSTGRES_DSN=… flashsale migrate")
def migrate(data_dir: DataDir = None) -> None:
    """Bring the schema to this version."""
    settings = _settings(data_dir)

    async def work() -> list[str]:
        async with postgres_pool(settings, 1):
            pass  # for its one line where nothing answers
        return await run_migrations(_plain(settings.postgres_dsn) or "")

    applied = _run(work())
    typer.echo(f"applied {', '.join(applied)}" if applied else "the schema is current")


@app.command(epilog="Example: flashsale doctor --data-dir flashsale-data")
def doctor(data_dir: DataDir = None) -> int:
    """Check servers, durability, clocks and versions, and say what to set."""
    from flashsale.reconciliation.doctor import examine, render_findings  # noqa: PLC0415

    settings = _settings(data_dir)
    looking = examine(
        _plain(settings.redis_url),
        _plain(settings.postgres_dsn),
        connections_max=settings.web.connections_max,
        data_dir=data_dir,
        relaxed=settings.durability == "relaxed",
    )
    findings = _run(looking)
    Console().print(render_findings(findings))
    return int(any(finding.failed for finding in findings))


@app.command(epilog="Example: flashsale audit --data-dir flashsale-data --json")
def audit(
    sale: Annotated[str | None, typer.Argument(help="A sale's id; all of them without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Check every invariant on both stores; exit 1 where one is broken."""
    settings = _settings(data_dir)

    async def work() -> list[Any]:
        async with lane_inspector(settings) as inspector, postgres_pool(settings, 4) as pool:
            return await run_audit(pool, inspector, sale)

    reports = _run(work())
    if as_json:
        whole = {
            "holds": all(each.holds for each in reports),
            "sales": [to_json(each) for each in reports],
        }
        typer.echo(orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode())
    else:
        Console().print(render(reports))
    return int(not all(each.holds for each in reports))


@merchant_app.command("create", epilog='Example: flashsale merchant create "My shop"')
def merchant_create(name: str, data_dir: DataDir = None) -> None:
    """Create a merchant; its API key and buyer signing key are shown this once."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise typer.BadParameter("the name is empty, longer than 200 characters or not printable")
    settings = _settings(data_dir)

    async def work() -> access_queries.NewMerchant:
        async with postgres_pool(settings, 1) as pool:
            return await access_queries.create_merchant(pool, name.strip(), now=wiring.now_utc())

    created = _run(work())
    shown = {
        "merchant_id": created.merchant_id,
        "api_key": created.api_key,
        "buyer_key_id": created.buyer_key.kid,
        "buyer_signing_key": created.buyer_key.secret.decode(),
    }
    typer.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())


@token_app.command(
    "buyer", epilog="Example: flashsale token buyer --sub alice --data-dir flashsale-data"
)
def token_buyer(
    sub: Annotated[str, typer.Option(help="The buyer's id.")],
    merchant: Annotated[
        str | None, typer.Option(help="A merchant's id; the data folder's by default.")
    ] = None,
    ttl_seconds: Annotated[int, typer.Option(min=1, max=31_536_000)] = 3600,
    data_dir: DataDir = None,
) -> None:
    """Print a token for a buyer."""
    if not is_subject(sub):
        raise typer.BadParameter("--sub takes 1 to 128 characters, none of them control")
    settings = _settings(data_dir)
    owner = merchant or (Credentials.load(data_dir).merchant_id if data_dir else None)

    async def work() -> str:
        async with postgres_pool(settings, 1) as pool:
            keys = list((await access_queries.load_buyer_keys(pool)).values())
        owners = {key.merchant_id for key in keys}
        chosen = owner or (owners.pop() if len(owners) == 1 else None)
        for key in reversed(keys):
            if (key.merchant_id, key.algorithm, key.state) == (chosen, "HS256", "active"):
                return fast_issuer(key, now=time.time(), ttl_seconds=ttl_seconds)(sub)
        raise typer.BadParameter("name the merchant with --merchant: its keys decide who signs")

    typer.echo(_run(work()))


@app.command(epilog="Example: flashsale openapi > openapi.json")
def openapi() -> None:
    """Print the OpenAPI document."""
    typer.echo(orjson.dumps(document(ROUTES), option=orjson.OPT_INDENT_2).decode())


@app.command(epilog="Example: flashsale loadtest launch-150k --minutes 1")
def loadtest(
    profile: Annotated[str, typer.Argument(help="launch-150k or full-speed.")],
    minutes: Annotated[
        float | None, typer.Option(min=0.1, max=60, help="Shorten it; rates stay.")
    ] = None,
    web_processes: Annotated[int, typer.Option(min=1, max=64)] = 1,
    data_dir: DataDir = None,
) -> int:
    """Run a load profile through locust, then check that nothing was oversold or lost."""
    from flashsale.demo.loadtest import run_profile  # noqa: PLC0415

    return _run(run_profile(profile, minutes, data_dir=data_dir, web_processes=web_processes))


@app.command(epilog="Example: flashsale bench --quick")
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Under a minute, fewer rounds.")] = False,
) -> int:
    """Measure the engine beside its baselines in one run."""
    from flashsale.demo.loadtest import run_bench  # noqa: PLC0415

    return _run(run_bench(quick=quick))
