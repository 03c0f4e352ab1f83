"""Nothing is left lying about: no notes to self, no prints, no trace of one machine."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tidy.sources import files, modules, name_of, tree

# Written in pieces, so that this file is not its own finding.
NOTES = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
PRINTERS = ("flashsale/cli", "flashsale/demo/")
TEXT = {
    *(".py", ".lua", ".sql", ".sh", ".js", ".css", ".html", ".md", ".txt"),
    *(".toml", ".json", ".yml", ".yaml", ".conf", ".cfg", ".ini"),
}
#: Folders of one machine; addresses that resolve dependencies for everybody else's machine.
FOREIGN = {
    "a folder of one machine": re.compile(
        r"(?<![\w.:/-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|Us" + r"ers)/\w"
    ),
    "a package registry": re.compile(
        r"(?i)(?:pypi\.o" + r"rg/(?:simple|packages)|pythonhosted\.o" + r"rg"
        r"|registry\.np" + r"mjs|registry\.ya" + r"rnpkg|--(?:extra-)?index-u" + r"rl)"
    ),
}  # fmt: skip


def test_there_are_no_notes_to_self():
    found = [
        f"{name_of(path)}:{number}"
        for path in files(".py", ".lua", ".sql", ".js", ".css", ".html")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if NOTES.search(line)
    ]
    assert found == []


def test_nothing_prints_but_the_commands():
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        if not name_of(path).startswith(PRINTERS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"print", "breakpoint", "pprint"}
    ]
    assert found == []


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_file_names_the_machine_it_was_made_on(kind: str):
    found = [
        f"{name_of(path)}:{number}"
        for path in files()
        if path.suffix in TEXT or not path.suffix
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if FOREIGN[kind].search(line)
    ]
    assert found == []


def test_they_would_be_noticed():
    assert NOTES.search("# TO" + "DO: later")
    assert FOREIGN["a folder of one machine"].search("see /ho" + "me/ann/notes")
    assert FOREIGN["a package registry"].search("pip install --index-u" + "rl x")
    assert not FOREIGN["a folder of one machine"].search("https://example.org/ho" + "me/page")
