"""Bugs to be put into a running engine, each by its name, to see that the checker finds it.

No file of the engine is changed: a bug is a changed line of a script, or another function in place
of one, made in the process that is given the bug's name.
"""

from __future__ import annotations

from tests.chaos.planted.bugs import BUGS
from tests.chaos.planted.values import Bug, Fault

#: Names the bug that a process is to have.
VARIABLE = "FLASHSALE_TEST_PLANTED"

__all__ = ["BUGS", "VARIABLE", "Bug", "Fault", "apply", "install"]


def apply(name: str) -> dict[str, str]:
    """The variables with which every process of a run is started. KeyError: no such bug."""
    return {VARIABLE: BUGS[name].name}


def install(name: str) -> None:
    """Put the bug into this process, before it begins its work. KeyError: no such bug."""
    bug = BUGS[name]
    for edit in bug.edits:
        edit.install()
    for patch in bug.patches:
        patch()
