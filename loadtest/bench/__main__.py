"""`python -m loadtest.bench [--quick]`: every figure in one run, as a table, JSON and a page."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from flashsale.clients import StartError
from flashsale.demo.demo import hold_launch
from flashsale.demo.screen import Scene
from flashsale.embedded.errors import EmbeddedError
from flashsale.shipped import shipped
from flashsale.supervisor import engine
from loadtest.bench import http, payments, settlement
from loadtest.bench.fire import CONNECTIONS, tool
from loadtest.bench.stage import median, stage

LAUNCH_UNITS = 150_000
XIAOMI_SECONDS = 595


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; `target` as text, `met` None where the run is too small to say."""

    name: str
    measured: str
    baseline: str
    ratio: float | None
    target: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Size:
    """How long to measure."""

    rounds: int
    seconds: float
    settled_rounds: int
    settled_orders: int
    launch_units: int
    paid_rounds: int
    payments: int
    beside_rounds: int


FULL = Size(
    rounds=5,
    seconds=5,
    settled_rounds=3,
    settled_orders=150_000,
    launch_units=LAUNCH_UNITS,
    paid_rounds=2,
    payments=5_000,
    beside_rounds=3,
)
QUICK = Size(
    rounds=1,
    seconds=2,
    settled_rounds=1,
    settled_orders=100_000,
    launch_units=20_000,
    paid_rounds=1,
    payments=1_000,
    beside_rounds=1,
)
PAYMENTS_PER_SECOND = 1_000
BESIDE = 0.8


async def run(size: Size, say: Console) -> list[Figure]:
    """Measure everything, one after the other."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="flashsale-bench-") as folder:
        async with stage(Path(folder) / "stage") as set_up:
            say.print(f"P1, P2, P9: {size.rounds} rounds of {size.seconds:.0f} s each …")
            figures += _http(await http.measure(set_up, size.rounds, size.seconds))
            say.print(f"P3: settling {size.settled_orders:,} orders, {size.settled_rounds} times …")
            rates = await settlement.measure(set_up, size.settled_rounds, size.settled_orders)
            figures.append(_ratio("P3 rows settled", rates.settled, "raw COPY", rates.copied, 0.5))
        say.print(f"Payments: {size.payments:,}, {size.paid_rounds} times; orders beside payers …")
        figures += await _money(Path(folder) / "money", size)
        say.print(f"P4: a launch of {size.launch_units:,}, load included …")
        figures += await _launch(Path(folder) / "launch", size.launch_units)
    return figures


def _http(rates: dict[str, float]) -> list[Figure]:
    bare = rates["bare"]
    return [
        _ratio("P1 orders", rates["orders"], "bare aiohttp app", bare, 0.9),
        _ratio("P2 refusals, sold out", rates["refusals"], "bare aiohttp app", bare, 1.0),
        _ratio("P2 public sale reads", rates["reads"], "bare aiohttp app", bare, 1.0),
        _ratio("P9 orders", rates["orders"], "one EVALSHA a request", rates["evalsha"], 2.4),
        _ratio("P9 orders", rates["orders"], "one hot-row transaction", rates["hotrow"], 8.0),
    ]


def _ratio(name: str, rate: float, against: str, baseline: float, target: float) -> Figure:
    ratio = rate / baseline
    shown = f"{against}, {baseline:,.0f}/s"
    return Figure(name, f"{rate:,.0f}/s", shown, round(ratio, 2), f"≥ {target}", ratio >= target)


async def _money(folder: Path, size: Size) -> list[Figure]:
    async with payments.till(folder) as till:
        await till.pay_all(payments.WARM_UP)
        paid = [await till.pay_all(size.payments) for _ in range(size.paid_rounds)]
        beside = await till.beside(size.beside_rounds, size.seconds)
    steady = median(each.steady for each in paid)
    whole = median(each.whole for each in paid)
    judged = size.payments == FULL.payments
    return [
        Figure(
            "Payments, click to paid",
            f"{steady:,.0f}/s steady",
            f"{whole:,.0f}/s from the first to the last",
            None,
            f"≥ {PAYMENTS_PER_SECOND:,}/s",
            steady >= PAYMENTS_PER_SECOND if judged else None,
        ),
        Figure(
            "P1 orders, as many buyers paying",
            f"{beside.with_payers:,.0f}/s",
            f"nobody paying, {beside.alone:,.0f}/s; {beside.payments:,.0f} payments/s",
            round(beside.ratio, 2),
            f"≥ {BESIDE}",
            beside.ratio >= BESIDE if judged else None,
        ),
    ]


async def _launch(folder: Path, units: int) -> list[Figure]:
    async with engine(folder, host="127.0.0.1", port=0) as started:
        outcome = await hold_launch(started.credentials, folder, Scene(units))
    if outcome.failures:
        raise RuntimeError(f"the launch failed: {'; '.join(outcome.failures)}")
    whole = units == LAUNCH_UNITS
    xiaomi = f"Xiaomi 2013, {XIAOMI_SECONDS} s" if whole else f"{units:,} units only"
    settled = outcome.settled_seconds or float("inf")
    memory = outcome.redis_bytes / 2**20
    return [
        Figure(
            "P4 all reserved after",
            f"{outcome.sold_seconds:.1f} s",
            xiaomi,
            round(XIAOMI_SECONDS / outcome.sold_seconds, 1) if whole else None,
            "≤ 30 s",
            outcome.sold_seconds <= 30 if whole else None,
        ),
        Figure(
            "P4 all in Postgres after",
            f"{settled:.1f} s",
            "",
            None,
            "≤ 35 s",
            settled <= 35 if whole else None,
        ),
        Figure(
            "Redis after settlement",
            f"{memory:.1f} MiB",
            "",
            None,
            "≤ 60 MB",
            outcome.redis_bytes <= 60e6 if whole else None,
        ),
    ]


def table(figures: list[Figure]) -> Table:
    """The figures for a terminal."""
    drawn = Table(title="Flashsale beside its baselines, one run on one machine")
    for column in ("", "measured", "beside", "ratio", "target", ""):
        drawn.add_column(column)
    for each in figures:
        ratio = "" if each.ratio is None else f"{each.ratio:g}"
        met = {True: "met", False: "missed", None: "not judged"}[each.met]
        drawn.add_row(each.name, each.measured, each.baseline, ratio, each.target, met)
    return drawn


def page(figures: list[Figure], conditions: dict[str, object]) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {each.name} | {each.measured} | {each.baseline} |"
        f" {'' if each.ratio is None else f'{each.ratio:g}'} | {each.target} |"
        for each in figures
    ]
    return "\n".join(
        [
            "# Bench",
            "",
            "`flashsale bench` wrote this: every figure from one run, the baselines beside it.",
            "",
            *(f"- {name}: {value}" for name, value in conditions.items()),
            "",
            "| figure | measured | beside | ratio | target |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _conditions(size: Size) -> dict[str, object]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load tool": f"{tool()}, {CONNECTIONS} connections, one web process of each app",
        "rounds": f"median of {size.rounds}, {size.seconds:.0f} s each",
    }


def main() -> int:
    """Run, print, save; 1 where a judged target is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    size = QUICK if parser.parse_args().quick else FULL
    console = Console()
    try:
        figures = uvloop.run(run(size, console))
    except (EmbeddedError, StartError, RuntimeError) as error:
        print(f"flashsale bench: {error}", file=sys.stderr)
        return 2
    console.print(table(figures))
    conditions = _conditions(size)
    results = shipped("loadtest") / "results"
    if not os.access(results, os.W_OK):
        results = Path.cwd()
    name = "bench-quick" if size is QUICK else "bench"
    document = {"conditions": conditions, "figures": [asdict(each) for each in figures]}
    (results / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    (results / f"{name}.md").write_text(page(figures, conditions), "utf-8")
    console.print(f"Written to {results / name}.json and .md")
    return int(any(each.met is False for each in figures))


if __name__ == "__main__":
    sys.exit(main())
