"""How what went wrong is put into a line for a person: one sentence, ended once. Pure."""

from __future__ import annotations


def ended(text: str) -> str:
    """Words as a sentence on one line: whatever they end with, they end once."""
    line = " ".join(text.split())
    return line if line.endswith((".", "?", "!")) else f"{line}."


def told(error: BaseException) -> str:
    """An error's kind and its words, as a sentence."""
    kind = type(error).__name__
    return ended(f"{kind}: {error}" if str(error) else kind)
