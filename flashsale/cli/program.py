"""The map of commands, and how each of them ends. Knows nothing of what they do."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import asyncpg
import typer
from typer.exceptions import TyperException

from flashsale import __version__
from flashsale.cli import administration, processes, recovery, repairs, trials
from flashsale.cli.common import Stopped
from flashsale.clients import StartError, brief
from flashsale.config import ConfigError
from flashsale.embedded.errors import EmbeddedError
from flashsale.reconciliation.errors import ReconciliationError
from flashsale.recovery.protocol import NotRecoverableError
from flashsale.reservation.errors import StoreError
from flashsale.sentences import ended
from flashsale.settlement.migrate import MigrationError

WRONG_USE = 2
TRACEBACK_VARIABLE = "FLASHSALE_TRACEBACK"

#: Every command, its group, and an example of it.
COMMANDS: tuple[tuple[str | None, str, Callable[..., Any], str], ...] = (
    (None, "demo", trials.demo, "flashsale demo --units 20000"),
    (None, "up", processes.up, "flashsale up --port 8080"),
    (None, "web", processes.web, "flashsale web --port 8080 --share-port"),
    (None, "settle", processes.settle, "flashsale settle --data-dir flashsale-data"),
    (None, "timekeeper", processes.timekeeper, "flashsale timekeeper --data-dir flashsale-data"),
    (None, "dispatch", processes.dispatch, "flashsale dispatch --data-dir flashsale-data"),
    (None, "sandbox", processes.sandbox, "flashsale sandbox --port 8090"),
    (None, "migrate", administration.migrate, "flashsale migrate --data-dir flashsale-data"),
    (None, "doctor", administration.doctor, "flashsale doctor --data-dir flashsale-data"),
    (None, "audit", administration.audit, "flashsale audit --data-dir flashsale-data --json"),
    (None, "recover", recovery.recover, "flashsale recover SALE --data-dir flashsale-data"),
    (None, "reopen", repairs.reopen, "flashsale reopen SALE SKU --because explained"),
    ("dead-letters", "list", repairs.letters_list, "flashsale dead-letters list --sale SALE"),
    ("dead-letters", "replay", repairs.letters_replay, "flashsale dead-letters replay"),
    (
        "dead-letters",
        "dismiss",
        repairs.letters_dismiss,
        "flashsale dead-letters dismiss 1767000000000-0 --because rebuilt",
    ),
    ("merchant", "create", administration.merchant_create, 'flashsale merchant create "My shop"'),
    ("merchant", "key", administration.merchant_key, "flashsale merchant key mer_abcdefghijkl"),
    ("token", "buyer", administration.token_buyer, "flashsale token buyer --sub alice"),
    (None, "openapi", administration.openapi, "flashsale openapi > openapi.json"),
    (None, "loadtest", trials.loadtest, "flashsale loadtest launch-150k --minutes 1"),
    (None, "bench", trials.bench, "flashsale bench --quick"),
)
GROUPS = {
    "dead-letters": "Entries that could not be settled.",
    "merchant": "Merchants.",
    "token": "Tokens for trying things out.",
}

#: What a command may end with that is no bug: one line each.
_EXPECTED = (
    ConfigError,
    StartError,
    EmbeddedError,
    MigrationError,
    ReconciliationError,
    NotRecoverableError,
    StoreError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
)


def build() -> typer.Typer:
    """All commands as one program."""
    app = _group("A flash-sale engine.", "flashsale demo")
    app.callback(invoke_without_command=True)(_root)
    groups: dict[str | None, typer.Typer] = {None: app}
    for group, name, function, example in COMMANDS:
        if group is not None and group not in groups:
            groups[group] = _group(GROUPS[group], example)
            groups[group].callback(invoke_without_command=True)(_branch)
            app.add_typer(groups[group], name=group, help=GROUPS[group])
        groups[group].command(name, epilog=f"Example: {example}")(function)
    return app


def _group(help_text: str, example: str) -> typer.Typer:
    return typer.Typer(
        help=help_text,
        epilog=f"Example: {example}",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"flashsale {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: bool = typer.Option(  # noqa: ARG001 - acted on in its callback
        False,
        "--version",
        callback=_version,
        is_eager=True,
        help="Print the version.",
    ),
) -> None:
    _branch(context)


def _branch(context: typer.Context) -> None:
    """Show what there is to whoever names no command; it is still wrong use."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        context.fail("No command was named.")


def run(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; every error is one plain line on standard error."""
    try:
        code = typer.main.get_command(build()).main(
            arguments, prog_name="flashsale", standalone_mode=False
        )
    except Stopped as stopped:
        return 128 + stopped.signal_number
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        typer.echo("flashsale: " + " ".join(_explain(error).split()), err=True)
        return WRONG_USE  # and never 1, which would say that something was checked
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> str:
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "flashsale"
        return f"{ended(error.format_message())} See: {command} --help"
    if isinstance(error, OSError) and error.filename:
        return ended(f"{error.filename}: {error.strerror}")
    if isinstance(error, _EXPECTED):
        return str(error) or type(error).__name__
    return (
        f"This is a bug: {type(error).__name__}: {brief(error)}."
        f" Please report it with what {TRACEBACK_VARIABLE}=1 shows."
    )
