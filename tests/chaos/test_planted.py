"""The planted bugs still fit the engine that they are planted in, and change it when asked to."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flashsale.reservation import scripts
from flashsale.reservation.scripts import load_scripts
from flashsale.shipped import shipped
from tests.chaos.faults import FAULTS
from tests.chaos.planted import BUGS, VARIABLE, Bug, apply
from tests.tidy.sources import ROOT

#: Prints for each bug with functions whether one of the engine is another one with it.
_INSTALL = """
import json, sys
from tests.chaos import planted
from flashsale.wiring import web_process

modules = [each for name, each in sys.modules.items() if name.startswith("flashsale.")]
owners = {value for each in modules for value in vars(each).values() if isinstance(value, type)}
owners = [*modules, *(each for each in owners if each.__module__.startswith("flashsale."))]

def engine():
    return [(id(owner), name, id(value)) for owner in owners for name, value in vars(owner).items()]

changed, before = {}, engine()
for name, bug in planted.BUGS.items():
    if bug.patches:
        planted.install(name)
        changed[name], before = engine() != before, engine()
print(json.dumps(changed))
"""


def test_there_are_enough_and_each_says_what_it_breaks():
    assert len(BUGS) >= 12
    assert all(name == bug.name and bug.breaks and bug.what for name, bug in BUGS.items())
    assert all(apply(name) == {VARIABLE: name} for name in BUGS)


@pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.name)
def test_the_line_that_a_bug_changes_is_there_once(bug: Bug):
    assert bug.edits or bug.patches
    loaded = load_scripts(shipped("lua")).values()
    for edit in bug.edits:
        origins = {
            origin
            for each in loaded
            for line, origin in zip(each.source.splitlines(), each.origins, strict=True)
            if edit.matches(line, origin)
        }
        assert len(origins) == 1, edit


@pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.name)
def test_the_runner_knows_the_faults_that_bring_it_out(bug: Bug):
    assert {each.fault for each in bug.faults} <= FAULTS.keys()
    assert all(0 <= each.at_ms < bug.seconds * 1000 for each in bug.faults)
    assert all(name.startswith("INV-") for name in bug.breaks)


def test_functions_of_the_engine_are_others_with_each():
    command = [sys.executable, "-c", _INSTALL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = [bug.name for bug in BUGS.values() if bug.patches]
    assert json.loads(done.stdout) == dict.fromkeys(names, True)


def test_scripts_of_the_engine_are_others_with_an_edit(monkeypatch):
    unchanged = load_scripts(shipped("lua"))
    monkeypatch.setattr(scripts, "_expand", scripts._expand)
    for edit in BUGS["expire_paying"].edits:
        edit.install()
    changed = load_scripts(shipped("lua"))
    others = {name for name in unchanged if unchanged[name].digest != changed[name].digest}
    assert others == {"expire_due", "pay"}
    assert "if false then" in changed["expire_due"].source
