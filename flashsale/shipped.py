"""Finds the folders that ship with the code: beside the package in a checkout, else inside."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(folder: str) -> Path:
    """The `lua`, `config` or `loadtest` folder of this installation.

    Raises FileNotFoundError where the installation is incomplete.
    """
    for candidate in (_PACKAGE.parent / folder, _PACKAGE / "_shipped" / folder):
        if candidate.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file() == (
            candidate.parent == _PACKAGE.parent
        ):
            return candidate
    raise FileNotFoundError(f"the {folder}/ folder of Flashsale is missing: install it again")
