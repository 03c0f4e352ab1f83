"""What the house is built like: folders, names, first lines."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tidy.sources import PACKAGE, ROOT, files, modules, name_of, tree

MIGRATIONS = PACKAGE / "settlement" / "migrations"
#: What the project promises to consist of.
HOUSE = ("flashsale", "lua", "loadtest", "config", "tests", "pyproject.toml", "README.md")


def test_migrations_are_numbered_without_gaps():
    names = sorted(path.name for path in MIGRATIONS.iterdir() if path.suffix == ".sql")
    assert [re.match(r"(\d{4})_[a-z0-9_]+\.sql$", name)[1] for name in names] == [
        f"{number:04}" for number in range(1, len(names) + 1)
    ]


def test_key_names_are_built_in_one_file():
    """Anywhere else a typing error would be a new key, empty and on another slot."""
    key = re.compile(r"fs:\{|[\"'`]fs:")
    users = [
        name_of(path)
        for path in [*modules(), *files(".lua"), *files(".sql")]
        if not path.is_relative_to(ROOT / "tests") and key.search(path.read_text())
    ]
    assert users == ["flashsale/reservation/keys.py"]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_opens_with_one_line_that_says_what_it_is(path):
    opening = ast.get_docstring(tree(path))
    assert opening, "a module starts with a docstring"
    first, _, rest = opening.partition("\n")
    assert first.endswith("."), first
    assert not rest or rest.startswith("\n"), "the line stands alone"


@pytest.mark.parametrize("name", HOUSE)
def test_the_house_is_complete(name: str):
    assert (ROOT / name).exists()


def test_the_map_shows_what_is_there():
    """ARCHITECTURE.md names no folder that is gone, and leaves no package out."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(
        re.findall(r"`((?:flashsale|lua|loadtest|config|tests|docs|deploy)/[\w/.-]*)`", text)
    )
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()
    packages = {path.parent.name for path in modules() if path.name == "__init__.py"}
    top = {name for name in packages if (PACKAGE / name / "__init__.py").is_file()}
    assert {name for name in top if f"{name}/" not in text} == set()
