"""The expanded sources are Lua 5.1 without unknown globals or unused locals."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from luaparser import ast

from tests.lua.header import PATHS, script

GLOBALS = {
    *("redis", "KEYS", "ARGV", "string", "table", "math"),
    *("unpack", "ipairs", "pairs", "tonumber"),
}
LUACHECK = (
    *("luacheck", "-", "--std", "lua51", "--globals", "redis", "--read-globals", "KEYS", "ARGV"),
    *("--max-line-length", "100", "--no-color", "--formatter", "plain"),
)


def _names(tree: ast.Node) -> tuple[set[str], set[str]]:
    """The names a tree declares and the names it reads; a field is neither."""
    declared, read = set(), set()
    for node in ast.walk(tree):
        match node:
            case ast.LocalAssign(targets=names) | ast.Forin(targets=names):
                declared |= {name.id for name in names}
            case ast.Fornum(target=ast.Name(id=name)):
                declared.add(name)
            case ast.LocalFunction(name=ast.Name(id=name), args=arguments):
                declared |= {name, *(argument.id for argument in arguments)}
            case ast.Index(value=ast.Name(id=name)) | ast.Call(func=ast.Name(id=name)):
                read.add(name)
    return declared, read


@pytest.mark.parametrize("name", PATHS)
def test_it_parses_and_knows_every_name_it_uses(name: str):
    shebang, _, source = script(name).source.partition("\n")
    assert shebang.startswith("#!lua")
    declared, read = _names(ast.parse(source))
    assert read <= declared | GLOBALS
    assert declared


def test_an_unknown_name_is_noticed():
    declared, read = _names(ast.parse("local a = {}\nlocal b = a[1]\ndecimal(b)\nmisspelt.c = b"))
    assert read - declared == {"decimal", "misspelt"}


def test_luacheck_finds_nothing(capsys: pytest.CaptureFixture[str]):
    if shutil.which("luacheck") is None:
        with capsys.disabled():
            sys.stderr.write("\nWARNING: luacheck is not installed; only luaparser read lua/\n")
    else:
        for name in PATHS:
            ran = subprocess.run(
                LUACHECK,
                input=f"--{script(name).source}",
                capture_output=True,
                text=True,
                check=False,
            )
            assert ran.returncode == 0, f"{name}: {ran.stdout}{ran.stderr}"
