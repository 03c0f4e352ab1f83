"""Statements are found by name, and a .sql file that breaks the form is refused by name."""

from __future__ import annotations

import pytest

from flashsale.sql import load_queries

GOOD = """-- About the file.

-- name: first
-- What it does.
SELECT 1;

-- name: second_2
-- What it does.
SELECT ';'
-- and why
FROM x;
"""


def load(tmp_path, text):
    path = tmp_path / "queries.sql"
    path.write_text(text)
    return load_queries(path)


def test_statements_by_name(tmp_path):
    queries = load(tmp_path, GOOD)
    assert queries == {"first": "SELECT 1", "second_2": "SELECT ';'\n-- and why\nFROM x"}
    with pytest.raises(TypeError):
        queries["first"] = "SELECT 2"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1;\n" + GOOD,
        GOOD.replace("second_2", "first"),
        GOOD.replace("second_2", "Second-2"),
        GOOD.replace("-- What it does.\nSELECT 1", "SELECT 1"),
        GOOD.replace("SELECT 1;", "SELECT 1"),
        GOOD.replace("SELECT 1;", ""),
        "-- name: first\n",
    ],
)
def test_a_file_out_of_form_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"queries\.sql"):
        load(tmp_path, text)
