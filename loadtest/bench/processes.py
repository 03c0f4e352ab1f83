"""Processor time of processes, as the kernel counts it: robust against noise of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds that each process has used so far, with its children, ended ones too."""
    parents: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
        except OSError:
            continue  # it ended meanwhile
        pid = int(path.parent.name)
        parents.setdefault(int(fields[1]), []).append(pid)
        ticks[pid] = sum(int(each) for each in fields[11:15])

    def whole(pid: int) -> int:
        return ticks.get(pid, 0) + sum(map(whole, parents.get(pid, ())))

    return {name: whole(pid) * _TICK_SECONDS for name, pid in pids.items()}
