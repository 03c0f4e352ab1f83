"""SQL statements by name, read from the .sql file beside the module that runs them. Runs none.

    -- name: find_merchant
    -- The merchant of an id.
    SELECT id, name FROM merchants WHERE id = $1;

A comment before the first name is about the file; the line after a name describes the statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (.*)\n", re.MULTILINE)
_STATEMENT = re.compile(r"-- \S[^\n]*\n(?P<body>.+)", re.DOTALL)


def load_queries(package_file: Path) -> Mapping[str, str]:
    """Return statement by name; ValueError, naming the file, where one breaks the form above."""
    before, *parts = _NAME.split(package_file.read_text(encoding="utf-8"))
    if any(line and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"{package_file}: SQL before the first '-- name: …'")
    queries: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        statement = _STATEMENT.fullmatch(text.strip())
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in queries:
            raise ValueError(f"{package_file}: '{name}' is not a name, or stands twice")
        if statement is None or not statement["body"].endswith(";"):
            raise ValueError(f"{package_file}: {name} needs a line '-- what it does', SQL and ';'")
        queries[name] = statement["body"].removesuffix(";")
    return MappingProxyType(queries)
