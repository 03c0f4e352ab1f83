"""Commands that ask or change something once: schema, checks, merchants, tokens, the document."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from flashsale import wiring
from flashsale.access import queries as access_queries
from flashsale.access.api_keys import Scope, generate
from flashsale.access.buyer_keys import BuyerKey
from flashsale.access.tokens import fast_issuer, is_subject
from flashsale.auditlog.acting import OPERATOR, Act, acting
from flashsale.cli.common import DataDir, run, settings_for
from flashsale.clients import lane_inspector, postgres_pool
from flashsale.config import plain
from flashsale.embedded.credentials import Credentials
from flashsale.payments.provider import Provider, ProviderError
from flashsale.preorders.verify import verify_preorder
from flashsale.reconciliation.audit import audit as run_audit
from flashsale.reconciliation.doctor import examine, render_findings
from flashsale.reconciliation.errors import NoStatementError
from flashsale.reconciliation.installation import audit_installation
from flashsale.reconciliation.money_statement import Line, Statement
from flashsale.reconciliation.queries import Pool
from flashsale.reconciliation.report import AuditReport, render, to_json
from flashsale.settlement.migrate import migrate as run_migrations
from flashsale.web.openapi import document
from flashsale.web.routes import ROUTES
from flashsale.wiring.provider import payment_provider


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def migrate(data_dir: DataDir = None) -> None:
    """Bring the schema to this version."""
    settings = settings_for(data_dir)

    async def work() -> list[str]:
        async with postgres_pool(settings, 1, check_schema=False):
            pass  # for its one line where nothing answers
        return await run_migrations(plain(settings.postgres_dsn) or "")

    applied = run(work(), data_dir)
    typer.echo(f"applied {', '.join(applied)}" if applied else "the schema is current")


def doctor(data_dir: DataDir = None) -> int:
    """Check servers, durability and clocks; say what to set."""
    settings = settings_for(data_dir)
    findings = run(
        examine(
            plain(settings.redis_url),
            plain(settings.postgres_dsn),
            connections_max=settings.web.connections_max,
            data_dir=data_dir,
            relaxed=settings.durability == "relaxed",
            disk_free_min_bytes=settings.checks.disk_free_min_mb << 20,
        )
    )
    Console().print(render_findings(findings))
    return int(any(finding.failed for finding in findings))


def audit(
    sale: Annotated[str | None, typer.Argument(help="A sale's id; all of them without it.")] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="Retired sales order by order too, not their sums alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Check every invariant on both stores and at the provider; exit 1: one is broken."""
    settings = settings_for(data_dir)

    async def work() -> tuple[list[AuditReport], AuditReport | None]:
        async with lane_inspector(settings) as inspector, postgres_pool(settings, 4) as pool:
            sales = await run_audit(pool, inspector, sale, retired_whole=whole)
            sales = [await _with_queues(pool, each) for each in sales]
            if sale is not None:
                return sales, None
            async with payment_provider(settings) as provider:
                return sales, await audit_installation(pool, _statement(provider))

    sales, installation = run(work(), data_dir)
    reports = sales if installation is None else [*sales, installation]
    holds = all(each.holds for each in reports)
    if as_json:
        told = {"holds": holds, "sales": [to_json(each) for each in sales]}
        _print_json(
            told if installation is None else {**told, "installation": to_json(installation)}
        )
    else:
        Console().print(render(sales), *([render([installation])] if installation else []))
    return int(not holds)


async def _with_queues(pool: Pool, report: AuditReport) -> AuditReport:
    """With what the queues of a pre-order say; nothing is added to any other sale."""
    found = await verify_preorder(pool, report.sale_id or "")
    return dataclasses.replace(report, checks=(*report.checks, *found))


def _statement(provider: Provider | None) -> Statement | None:
    if provider is None:
        return None

    async def lines() -> AsyncIterator[Line]:
        try:
            async for line in provider.statement(None):
                yield line
        except ProviderError as error:
            raise NoStatementError(provider.name, str(error)) from error

    return Statement(provider.name, lines())


def merchant_create(
    name: Annotated[str, typer.Argument(help="What buyers know the shop as.")],
    data_dir: DataDir = None,
) -> None:
    """Create a merchant; its API key and buyer signing key are shown this once."""
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise typer.BadParameter("the name is empty, longer than 200 characters or not printable")
    settings = settings_for(data_dir)

    async def work() -> access_queries.NewMerchant:
        async with postgres_pool(settings, 1) as pool:
            return await access_queries.create_merchant(pool, name.strip(), now=wiring.now_utc())

    created = run(work(), data_dir)
    _print_json(
        {
            "merchant_id": created.merchant_id,
            "api_key": created.api_key,
            "buyer_key_id": created.buyer_key.kid,
            "buyer_signing_key": created.buyer_key.secret.decode(),
        }
    )


def merchant_key(
    merchant: Annotated[str, typer.Argument(help="The merchant's id, as `merchant create` says.")],
    scope: Annotated[Scope, typer.Option(help="What the key may do.")] = Scope.ADMIN,
    label: Annotated[str, typer.Option(help="What lists show it as.")] = "command line",
    data_dir: DataDir = None,
) -> None:
    """Make an API key for a merchant that is there, also where none is left; shown this once."""
    if not 1 <= len(label) <= 100 or not label.isprintable():
        raise typer.BadParameter("the label is empty, longer than 100 characters or not printable")
    settings = settings_for(data_dir)

    async def work() -> dict[str, str]:
        async with postgres_pool(settings, 1) as pool:
            if await access_queries.merchant_name(pool, merchant) is None:
                raise typer.BadParameter("there is no merchant of that id")
            key, record = generate(merchant, scope, now=wiring.now_utc(), label=label)
            with acting(Act(merchant, OPERATOR, "merchant_key")):
                await access_queries.create_api_key(pool, record)
        return {"id": record.id, "scope": scope.value, "api_key": key}

    _print_json(run(work(), data_dir))


def token_buyer(
    sub: Annotated[str, typer.Option(help="The buyer's id.")],
    merchant: Annotated[
        str | None, typer.Option(help="A merchant's id; the data folder's by default.")
    ] = None,
    ttl_seconds: Annotated[
        int, typer.Option(min=1, max=31_536_000, help="How long the token is good for.")
    ] = 3600,
    data_dir: DataDir = None,
) -> None:
    """Print a token for a buyer."""
    if not is_subject(sub):
        raise typer.BadParameter("--sub takes 1 to 128 characters, none of them control")
    settings = settings_for(data_dir)

    async def work() -> list[BuyerKey]:
        async with postgres_pool(settings, 1) as pool:
            return list((await access_queries.load_buyer_keys(pool)).values())

    key = _signing_key(run(work(), data_dir), merchant or _merchant_of(data_dir))
    typer.echo(fast_issuer(key, now=time.time(), ttl_seconds=ttl_seconds)(sub))


def _merchant_of(data_dir: Path | None) -> str | None:
    return None if data_dir is None else Credentials.load(data_dir).merchant_id


def _signing_key(keys: list[BuyerKey], merchant: str | None) -> BuyerKey:
    owners = {key.merchant_id for key in keys}
    if merchant is None and len(owners) != 1:
        raise typer.BadParameter("name the merchant with --merchant: its keys decide who signs")
    for key in reversed(keys):
        signs = (key.algorithm, key.state) == ("HS256", "active")
        if signs and key.merchant_id == (merchant or key.merchant_id):
            return key
    raise typer.BadParameter(f"merchant {merchant or owners.pop()} has no active HS256 key")


def openapi() -> None:
    """Print the OpenAPI document."""
    _print_json(document(ROUTES))
