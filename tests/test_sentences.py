"""What goes wrong is told in sentences, and none of them ends twice."""

from __future__ import annotations

import re

import pytest

from flashsale.sentences import ended, told
from tests.tidy.sources import ROOT

#: An error's own words, which may be a sentence already, with a full stop put behind them.
TWICE = re.compile(r"""\{(?:str\()?(?:error|reason|why)\)?\}\.(?=["' ])""")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("no answer", "no answer."),
        ("No answer.", "No answer."),
        ("Did you mean 'audit'?", "Did you mean 'audit'?"),
        ("  two\nlines ", "two lines."),
    ],
)
def test_words_become_one_sentence_on_one_line(words, sentence):
    assert ended(words) == sentence


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("Not this one."), "ValueError: Not this one."),
        (ValueError("nor this"), "ValueError: nor this."),
        (TimeoutError(), "TimeoutError."),
    ],
)
def test_an_error_is_told_by_its_kind_and_its_words(error, sentence):
    assert told(error) == sentence


def test_no_message_ends_an_error_s_words_once_more():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "flashsale").rglob("*.py")
        for line in path.read_text().splitlines()
        if TWICE.search(line)
    ]
    assert found == []
