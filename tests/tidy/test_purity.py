"""The rules are pure, and each outside library is spoken to from its own corner only.

Imports among our own packages are import-linter's, in pyproject.toml.
"""

from __future__ import annotations

import ast
import re

import pytest

from tests.tidy.sources import imported, modules, name_of, tree

#: What values and arithmetic need; not one of these can read a clock, a file or a die.
DOMAIN_MAY_IMPORT = {
    *("__future__", "base64", "binascii", "bisect", "collections", "dataclasses", "enum"),
    *("fractions", "functools", "hashlib", "hmac", "itertools", "math", "operator", "re"),
    *("struct", "types", "typing", "zlib", "pydantic", "flashsale"),
}
#: Where the domain needs an instant it is an argument; `datetime` may only be taken apart.
CLOCKS_AND_DICE = re.compile(
    r"\b(?:time\.(?:time|monotonic|perf_counter)|datetime\.(?:now|utcnow|today)|date\.today"
    r"|uuid[14]|random|secrets|urandom|getrandbits|open|input|print)\b"
)
#: The composition root, and the programs that bring their own clients.
ROOTS = ("cli", "clients", "demo", "embedded", "supervisor", "wiring")
CORNERS = {
    "redis": (*ROOTS, "reservation", "stream"),
    "hiredis": (*ROOTS, "reservation", "stream"),
    "asyncpg": (*ROOTS, "settlement", "*.queries"),
    "aiohttp": (*ROOTS, "web", "sandbox", "*.providers", "*.delivery"),
}


@pytest.mark.parametrize("path", modules("domain"), ids=name_of)
def test_the_domain_imports_only_what_is_pure(path):
    assert {name.partition(".")[0] for name in imported(path)} <= DOMAIN_MAY_IMPORT


@pytest.mark.parametrize("path", modules("domain"), ids=name_of)
def test_the_domain_reads_no_clock_and_throws_no_dice(path):
    called = [
        ast.unparse(node.func)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and CLOCKS_AND_DICE.search(ast.unparse(node.func))
    ]
    assert called == []


def _allowed(module: str, corner: tuple[str, ...]) -> bool:
    package = module.split(".")[1]
    return package in corner or any(
        f".{place[2:]}" in module for place in corner if place.startswith("*.")
    )


@pytest.mark.parametrize("library", CORNERS)
def test_a_library_is_spoken_to_from_its_corner(library: str):
    users = {
        name_of(path).removesuffix(".py").replace("/", ".")
        for path in modules()
        if any(name.partition(".")[0] == library for name in imported(path))
    }
    assert users, "the name of the library is right"
    assert {module for module in users if not _allowed(module, CORNERS[library])} == set()


@pytest.mark.parametrize(
    "source",
    ["time.time()", "datetime.now(UTC)", "random.random()", "uuid4()", "uuid.uuid4()", "open(x)"],
)
def test_an_impure_call_would_be_noticed(source: str):
    call = ast.parse(source).body[0].value
    assert CLOCKS_AND_DICE.search(ast.unparse(call.func))
