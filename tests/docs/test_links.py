"""What the documents name is there: files, headings, commands, options, variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from flashsale.cli.program import build
from flashsale.config import ConfigError, load_settings
from tests.tidy.sources import ROOT, files, modules, name_of

DOCUMENTS = files(".md")
#: Besides prose: what deployers copy commands and variables from.
DEPLOYED = [path for path in files() if path.is_relative_to(ROOT / "deploy")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
#: In backticks, at the start of a line, in a shell's $( ), or as a unit names the program.
CALL = re.compile(r"(?:^ *|`|\$\(|bin/)flashsale((?: +[^\s`#|]+)+)", re.MULTILINE)
COMPOSED = re.compile(r"^ *command: \[(.+)\]$", re.MULTILINE)
VARIABLE = re.compile(r"\bFLASHSALE_[A-Z][A-Z_]*[A-Z]\b")


def anchors(document: Path) -> set[str]:
    """The names that headings get: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def broken_links(document: Path, text: str) -> list[str]:
    """Relative links of a document that lead nowhere."""
    broken = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def calls(text: str) -> list[list[str]]:
    """The words behind `flashsale`, brackets and commas of their surroundings taken off."""
    found = [*CALL.findall(text), *COMPOSED.findall(text)]
    return [[word.strip("[],;)\"'") for word in call.split()] for call in found]


def first_wrong_word(words: list[str]) -> str | None:
    """A command or an option that the program does not have."""
    command = typer.main.get_command(build())
    known = {"--help"} | {option for each in command.params for option in each.opts}
    for word in words:
        inner = getattr(command, "commands", {})
        if word in inner:
            command = inner[word]
            known |= {option for each in command.params for option in each.opts}
        elif word.startswith("--"):
            if word.partition("=")[0] not in known:
                return word
        elif inner:
            return word
    return None


def wrong_calls(text: str) -> list[tuple[str, str]]:
    """Calls that would be refused, with the word that is wrong."""
    judged = [(words, first_wrong_word(words)) for words in calls(text)]
    return [(" ".join(words), wrong) for words, wrong in judged if wrong is not None]


def unknown_variables(text: str) -> list[str]:
    """Variables that neither the settings nor any other code of ours would read."""
    readers = [*modules(), *(ROOT / "tests").glob("*/*.py"), ROOT / "tests" / "conftest.py"]
    code = "".join(path.read_text() for path in readers if path != Path(__file__))
    return [name for name in VARIABLE.findall(text) if name not in code and not is_setting(name)]


def is_setting(name: str) -> bool:
    """Whether the settings know a variable: one they know is refused for its value at most."""
    try:
        load_settings({name: "1"})
    except ConfigError as error:
        return "is not a setting" not in str(error)
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path):
    assert broken_links(document, document.read_text()) == []


@pytest.mark.parametrize("document", [*DOCUMENTS, *DEPLOYED], ids=name_of)
def test_commands_and_variables_exist(document: Path):
    text = document.read_text()
    assert wrong_calls(text) == []
    assert unknown_variables(text) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`flashsale sell`", "sell"),
        ("see `flashsale audit --yaml`.", "--yaml"),
        ("    flashsale token seller --sub X", "seller"),
        ("T=$(flashsale token buyer --name X)", "--name"),
        ("ExecStart=/opt/flashsale/bin/flashsale web --loud", "--loud"),
        ("    command: [web, --prot, 80]", "--prot"),
    ],
)
def test_wrong_calls_would_be_noticed(text: str, wrong: str):
    assert [found for _, found in wrong_calls(text)] == [wrong]


def test_right_calls_are_read_as_such():
    text = "`flashsale demo [--units N]`\n    flashsale audit S --json  # ok\n`flashsale` is"
    assert wrong_calls(text) == []
    assert calls(text) == [["demo", "--units", "N"], ["audit", "S", "--json"]]


def test_other_mistakes_would_be_noticed():
    readme = ROOT / "README.md"
    links = "[a](docs/none.md) [b](ARCHITECTURE.md#none) [c](ARCHITECTURE.md#code-map)"
    assert broken_links(readme, links) == ["docs/none.md", "ARCHITECTURE.md#none"]
    named = "FLASHSALE_WEB__PORT FLASHSALE_WEB__PORTS FLASHSALE_REDIS_URL"
    assert unknown_variables(named) == ["FLASHSALE_WEB__PORTS"]
