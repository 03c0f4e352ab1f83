"""Files, functions and lines stay small enough to be read in one go."""

from __future__ import annotations

import ast

from tests.tidy.sources import files, name_of, tree

FILE_LINES_MAX, FUNCTION_LINES_MAX, LINE_CHARACTERS_MAX = 300, 60, 100


def test_files_are_short():
    long = {
        name_of(path): count
        for path in files(".py", ".lua", ".sql")
        if (count := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert long == {}


def test_functions_are_short():
    long = {
        f"{name_of(path)}:{node.lineno} {node.name}": count
        for path in files(".py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := node.end_lineno - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_lines_are_short():
    long = {
        f"{name_of(path)}:{number}": len(line)
        for path in files(".py", ".lua", ".sql")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > LINE_CHARACTERS_MAX
    }
    assert long == {}


def test_there_is_something_to_measure():
    """A wrong folder would make every test here pass."""
    counts = {suffix: len(files(suffix)) for suffix in (".py", ".lua", ".sql")}
    assert counts[".py"] > 50
    assert counts[".lua"] > 15
    assert counts[".sql"] > 2
