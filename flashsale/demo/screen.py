"""What a person sees while the demo runs, and at its end. Draws; measures nothing."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flashsale.demo.outcome import Outcome

PICTURE_COLUMNS = 96
_BLOCKS = "▁▂▃▄▅▆▇█"
_RATES_KEPT = 48


@dataclass(slots=True)
class Scene:
    """The launch at this instant; units, and units or milliseconds in names."""

    units: int
    stage: str = "starting the servers"
    sold: int = 0
    settled: int = 0
    seconds: float = 0.0
    lag_seconds: float = 0.0
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=_RATES_KEPT))
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    answered: int = 0
    refused: int = 0

    def __rich__(self) -> RenderableType:
        """The whole picture."""
        bars = Table.grid(padding=(0, 1))
        bars.add_column(width=8)
        bars.add_column(width=48)
        bars.add_column(justify="right", width=18)
        for label, count, colour in (
            ("sold", self.sold, "cyan"),
            ("settled", self.settled, "green"),
        ):
            bar = ProgressBar(
                total=self.units, completed=count, complete_style=colour, finished_style=colour
            )
            bars.add_row(label, bar, f"{count:,} / {self.units:,}")
        bars.add_row("rate", Text(sparkline(self.rates), "cyan"), f"{self._rate():,.0f} orders/s")
        facts = (
            f"{self.seconds:.1f} s   lag {self.lag_seconds:.2f} s   "
            f"answered in {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms\n"
            f"{self.answered:,} requests, {self.refused:,} refused"
        )
        title = f"flashsale demo · {self.stage}"
        return Panel(Group(bars, Text(facts, "dim")), title=title, width=PICTURE_COLUMNS - 8)

    def _rate(self) -> float:
        recent = list(self.rates)[-4:]
        return sum(recent) / len(recent) if recent else 0.0


def sparkline(values: Sequence[float] | deque[float]) -> str:
    """Values as a row of blocks, the highest a full one."""
    highest = max(values, default=0.0) or 1.0
    return "".join(_BLOCKS[min(int(value / highest * 7.999), 7)] for value in values)


def summary(outcome: Outcome) -> RenderableType:
    """The end of a demo: the numbers and the verdict."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right")
    for what, how_much in outcome.rows():
        table.add_row(what, how_much)
    colour = "red" if outcome.failures else "green"
    mark = "✗" if outcome.failures else "✓"
    verdicts = [Text(f"{mark} {sentence}", f"bold {colour}") for sentence in outcome.verdicts()]
    return Panel(
        Group(table, Text(), *verdicts),
        title=f"{outcome.units:,} units",
        border_style=colour,
        width=PICTURE_COLUMNS - 8,
    )


def make_room_for(picture: Path) -> None:
    """Make the file; OSError where it cannot be written."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.touch()


def save_picture(path: Path, scene: Scene, outcome: Outcome) -> None:
    """Write the terminal as an SVG: the last state of the progress, and the summary."""
    # Not the live console's own record: that would hold every frame that was ever drawn.
    console = Console(record=True, file=io.StringIO(), width=PICTURE_COLUMNS, force_terminal=True)
    console.print(Text("$ make demo", "bold"))
    console.print(scene)
    console.print(summary(outcome))
    make_room_for(path)
    console.save_svg(str(path), title="flashsale demo")
