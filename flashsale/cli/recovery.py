"""Commands that bring back what a disk lost. They rebuild from Postgres and invent nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from flashsale import wiring
from flashsale.cli.common import DataDir, run, settings_for


def recover(
    sale: Annotated[str, typer.Argument(help="The sale's id.")], data_dir: DataDir = None
) -> None:
    """Rebuild a sale's stock, holds and limits in Redis out of Postgres.

    The timekeeper does so by itself when it sees that Redis lost something; buyers are told
    "recovering" for the seconds that it takes.
    """
    done = run(wiring.recover(settings_for(data_dir), sale), data_dir)
    steps = ", ".join(f"{step} {took} ms" for step, took in done.took_ms.items())
    typer.echo(
        f"sale {done.sale} is rebuilt, in epoch {done.epoch}: {done.orders} orders,"
        f" {done.live_units} units held or sold, {done.entries_lost} entries lost ({steps})"
    )
