"""Secrets are compared in constant time: no plain comparison of one stands anywhere in the code."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tidy.sources import modules, name_of, tree

_SECRET = re.compile(
    r"secret|signature|passw|hmac|\bmac\b|digest|csrf|api_key$|token$", re.IGNORECASE
)
#: Comparisons with what is no secret: a name of something, a kind, nothing at all.
_HARMLESS = (ast.Constant,)


def plain_comparisons(source: ast.Module) -> list[str]:
    """Comparisons by == or != in which a secret is named."""
    return [
        ast.unparse(node)
        for node in ast.walk(source)
        if isinstance(node, ast.Compare)
        and any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops)
        and not any(isinstance(side, _HARMLESS) for side in [node.left, *node.comparators])
        and any(_names_a_secret(side) for side in [node.left, *node.comparators])
    ]


def _names_a_secret(side: ast.expr) -> bool:
    if isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id == "len":
        return False
    last = side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "")
    return bool(_SECRET.search(last)) and not last.isupper()


#: Its two sides are both the caller's own: a file of this machine, and the rows it belongs to.
_OWN = "flashsale/demo/launch.py"


@pytest.mark.parametrize("path", [p for p in modules() if name_of(p) != _OWN], ids=name_of)
def test_no_secret_is_compared_letter_by_letter(path) -> None:
    assert plain_comparisons(tree(path)) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("signature == expected", True),
        ("if given != self.secret: pass", True),
        ("hmac.compare_digest(signature, expected)", False),
        ("len(secret) == WANTED", False),
        ("token == ''", False),
    ],
)
def test_what_would_be_found(line: str, found: bool) -> None:
    assert bool(plain_comparisons(ast.parse(line))) is found
