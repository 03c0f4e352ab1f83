"""The catalogue of planted bugs, each with the shortest run in which it shows."""

from __future__ import annotations

from tests.chaos.planted.functions import FUNCTIONS
from tests.chaos.planted.scripts import SCRIPTS

BUGS = {bug.name: bug for bug in (*SCRIPTS, *FUNCTIONS)}
