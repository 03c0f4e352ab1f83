"""The planted bugs still fit the engine that they are planted in, and change it when asked to."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flashsale.reservation.scripts import load_scripts
from flashsale.shipped import shipped
from tests.chaos.faults import FAULTS
from tests.chaos.planted import BUGS, VARIABLE, Bug, apply
from tests.tidy.sources import ROOT

#: Prints for each bug whether a function or a script of the engine is another one with it.
_INSTALL = """
import json, sys, types
from tests.chaos import planted
from flashsale.reservation.scripts import load_scripts
from flashsale.shipped import shipped
from flashsale.wiring import web_process

def engine():
    found = {name: each.digest for name, each in load_scripts(shipped("lua")).items()}
    for module in [each for name, each in sys.modules.items() if name.startswith("flashsale.")]:
        for name, value in vars(module).items():
            found[module.__name__, name] = id(value)
            for inner, function in vars(value).items() if isinstance(value, type) else ():
                found[module.__name__, name, inner] = id(function)
    return found

changed = {}
for name in planted.BUGS:
    before = engine()
    planted.install(name)
    changed[name] = engine() != before
print(json.dumps(changed))
"""


def test_there_are_enough_and_each_says_what_it_breaks():
    assert len(BUGS) >= 12
    assert all(name == bug.name and bug.breaks and bug.what for name, bug in BUGS.items())
    assert all(apply(name) == {VARIABLE: name} for name in BUGS)


@pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.name)
def test_the_line_that_a_bug_changes_is_there_once(bug: Bug):
    assert bug.edits or bug.patches
    scripts = load_scripts(shipped("lua")).values()
    for edit in bug.edits:
        origins = {
            origin
            for each in scripts
            for line, origin in zip(each.source.splitlines(), each.origins, strict=True)
            if edit.matches(line, origin)
        }
        assert len(origins) == 1, edit


@pytest.mark.parametrize("bug", BUGS.values(), ids=lambda bug: bug.name)
def test_the_runner_knows_the_faults_that_bring_it_out(bug: Bug):
    assert {each.fault for each in bug.faults} <= FAULTS.keys()
    assert all(0 <= each.at_ms < bug.seconds * 1000 for each in bug.faults)
    assert all(name.startswith("INV-") for name in bug.breaks)


def test_the_engine_is_another_one_with_each():
    command = [sys.executable, "-c", _INSTALL]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(BUGS, True)
