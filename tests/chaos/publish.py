"""Puts what a command's runs came to beside the other measured results. It judges nothing.

`loadtest/results/chaos.json` has two parts, of the seeds and of the planted bugs; each command
replaces its own, after every run, so that one that is broken off leaves what it has seen.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.checker_run import load
from tests.chaos.publish_page import page
from tests.chaos.timeline import timeline
from tests.chaos.timeline_picture import drawing
from tests.chaos.world import ROOT

RESULTS = ROOT / "loadtest" / "results"
#: A larger picture than this does not belong into a repository.
_PICTURE_BYTES_MAX = 150_000


@dataclass(frozen=True, slots=True)
class Publication:
    """Where results go, and what was typed to get them."""

    command: str
    folder: Path = RESULTS

    def put(self, part: str, found: list[dict[str, Any]], asked: int, **more: Any) -> None:
        """Replace one part. `asked`: how many there are to be once the command is through."""
        path = self.folder / "chaos.json"
        whole: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        whole[part] = {
            "command": self.command,
            "date": datetime.now(UTC).date().isoformat(),
            "cores": os.cpu_count(),
            "asked": asked,
            part: found,
            **more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(path, json.dumps(whole, indent=1) + "\n")
        _replace(self.folder / "chaos.md", page(whole))

    def draw(self, folder: Path) -> bool:
        """Put the picture of one run there, where it is small enough; whether it is."""
        verdict = json.loads((folder / "verdict.json").read_text("utf-8"))
        text = drawing(timeline(load(folder), verdict))
        if len(text.encode()) > _PICTURE_BYTES_MAX:
            return False
        _replace(self.folder / "chaos.svg", text)
        return True


def _replace(path: Path, text: str) -> None:
    """All of it or nothing, whenever the command is ended."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


def row_of(
    about: dict[str, Any], broken: tuple[str, ...], judged: dict[str, Any]
) -> dict[str, Any]:
    """One seed's run as it is published; `judged` is the checker's verdict, empty without one."""
    schedule = about["schedule"]
    sometimes = judged.get("sometimes", {})
    return {
        "seed": about["seed"],
        "seconds": about["seconds"],
        "broken": list(broken),
        "what": sorted({f"{e['invariant']}: {e['what']}" for e in judged.get("broken", [])}),
        "error": about.get("error", ""),
        "faults": _by_kind(line["fault"] for line in schedule),
        "in_vain": _by_kind(line["fault"] for line in schedule if not line["struck"]),
        "operations": judged.get("counts", {}).get("outcomes", {}),
        "orders": judged.get("counts", {}).get("orders", 0),
        "sometimes": sometimes,
        "quiet_seconds": round(about["quiescence"]["took_ms"] / 1000, 1),
        "versions": about.get("versions", {}),
    }


def _by_kind(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
