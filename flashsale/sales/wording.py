"""What is said of a field at fault: one plain sentence, which never repeats what was sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flashsale.sentences import ended

_SENTENCES = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no such field.",
    "string_type": "Must be text.",
    "string_pattern_mismatch": "Does not have the form that this field has.",
    "int_type": "Must be a whole number, neither text nor a fraction.",
    "int_from_float": "Must be a whole number, neither text nor a fraction.",
    "float_type": "Must be a number, not text.",
    "bool_type": "Must be true or false, not text.",
    "list_type": "Must be a list.",
    "model_type": "Must be an object.",
    "model_attributes_type": "Must be an object.",
    "dict_type": "Must be an object.",
    "greater_than_equal": "Must be at least {ge}.",
    "less_than_equal": "Must be at most {le}.",
    "string_too_short": "Must have at least {min_length} characters.",
    "string_too_long": "Must have at most {max_length} characters.",
    "too_short": "Must have at least {min_length} entries.",
    "too_long": "Must have at most {max_length} entries.",
    "literal_error": "Must be {expected}.",
}


def sentence(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """The sentence for an error of a model: `kind`, `message` and `context` are pydantic's."""
    known = _SENTENCES.get(kind)
    if known is not None:
        return known.format_map(context)
    return ended(message)
