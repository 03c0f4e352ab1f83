"""The project's own files, as the tidy tests read them: no server, no import of the engine."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "flashsale"
_NOT_OURS = {".venv", "__pycache__", "vendor", "node_modules"}


@cache
def files(*suffixes: str) -> list[Path]:
    """Files that are, or would be, committed; in an unpacked archive, all that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else _walk()
    paths = [ROOT / name for name in names]
    return sorted(
        path
        for path in paths
        if (not suffixes or path.suffix in suffixes)
        and not _NOT_OURS & set(path.relative_to(ROOT).parts)
        and path.is_file()
    )


def _walk() -> list[str]:
    found = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
    return [str(path) for path in found if not any(part.startswith(".") for part in path.parts)]


def name_of(path: Path) -> str:
    """A path as messages name it."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(path.read_text("utf-8"), str(path))


def modules(*packages: str) -> list[Path]:
    """Python files of `flashsale/`, or of some packages in it."""
    folders = [PACKAGE / package for package in packages] or [PACKAGE]
    return [path for path in files(".py") if any(path.is_relative_to(folder) for folder in folders)]


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module that a file imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)
