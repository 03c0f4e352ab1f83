"""Commands for after something broke: reopen a SKU, settle dead letters. They guess nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import orjson
import typer

from flashsale import wiring
from flashsale.cli.common import DataDir, run, settings_for
from flashsale.settlement.letters import DeadLetter

OfSale = Annotated[str | None, typer.Option("--sale", help="A sale's id; all of them without it.")]


def reopen(
    sale: Annotated[str, typer.Argument(help="The sale's id.")],
    sku: Annotated[str, typer.Argument(help="The SKU that `flashsale audit` says is shut.")],
    because: Annotated[
        str, typer.Option(help="How the difference came about; the merchant's log keeps it.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Let a SKU be reserved again that was shut because the two stores disagreed.

    Refused while they still do: `flashsale recover` rebuilds Redis out of Postgres.
    """
    reason = _reason(because)
    run(wiring.reopen(settings_for(data_dir), sale, sku, reason), data_dir)
    typer.echo(f"SKU {sku} of sale {sale} can be reserved again")


def _reason(because: str) -> str:
    if not because.strip() or len(because) > 500 or not because.isprintable():
        raise typer.BadParameter("--because is empty, longer than 500 characters or not printable")
    return because.strip()


def letters_list(
    sale: OfSale = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, fields too.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show the entries that could not be settled, and why."""
    letters = run(wiring.list_dead_letters(settings_for(data_dir), sale), data_dir)
    if as_json:
        told = [asdict(letter) for letter in letters]
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
        return
    for letter in letters:
        typer.echo(f"{_place(letter)}: {letter.error}")
    if not letters:
        typer.echo("there are no dead letters")


def letters_replay(
    entry: Annotated[
        str | None, typer.Argument(help="An entry's id; all of them without it.")
    ] = None,
    sale: OfSale = None,
    data_dir: DataDir = None,
) -> int:
    """Settle them again, once what kept them from it is mended; exit 1: some stay.

    It may be repeated, and interrupted: an entry is never settled twice.
    """
    done = run(wiring.replay_dead_letters(settings_for(data_dir), sale, entry), data_dir)
    for each in done:
        place = _place(each.letter)
        if each.error is None:
            typer.echo(f"{place}: settled, {each.rows} orders, {each.rejected} without room")
        else:
            typer.echo(f"{place}: stays: {each.error}")
    if not done:
        typer.echo("there are no dead letters")
    return int(any(each.error is not None for each in done))


def letters_dismiss(
    entry: Annotated[str, typer.Argument(help="An entry's id.")],
    because: Annotated[
        str, typer.Option(help="Why nobody will settle it; the merchant's log keeps it.")
    ],
    sale: OfSale = None,
    data_dir: DataDir = None,
) -> int:
    """Remove one whose sale was rebuilt without it; exit 1: its units may be held still.

    Its buyers are told that their reservations were lost; the audit log keeps the entry.
    """
    reason = _reason(because)
    done = run(wiring.dismiss_dead_letters(settings_for(data_dir), sale, entry, reason), data_dir)
    for letter, gone in done:
        stays = f"stays: its units may be held; replay it, or `flashsale recover {letter.sale_id}`"
        typer.echo(f"{_place(letter)}: {'dismissed' if gone else stays}")
    return int(not all(gone for _, gone in done))


def _place(letter: DeadLetter) -> str:
    return f"{letter.sale_id} lane {letter.lane} {letter.entry_id}"
