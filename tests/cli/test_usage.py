"""Wrong use of every command: one plain line on standard error, exit code 2, nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest
import typer

from flashsale import __version__
from flashsale.cli import common, processes, program

NOBODY = "127.0.0.1:1"  # a privileged port on which nothing answers
REDIS = {"FLASHSALE_REDIS_URL": f"redis://{NOBODY}"}
POSTGRES = {"FLASHSALE_POSTGRES_DSN": f"postgresql://u:s3cret@{NOBODY}/d"}
STORE_COMMANDS = [
    ["web"],
    ["settle"],
    ["timekeeper"],
    ["dispatch"],
    ["migrate"],
    ["audit"],
    ["reopen", "abcdefghijkl", "sku", "--because", "it was explained"],
    ["dead-letters", "list"],
    ["dead-letters", "replay"],
    ["dead-letters", "dismiss", "1-1", "--because", "it was explained"],
    ["merchant", "create", "Mi"],
    ["merchant", "key", "mer_abcdefghijkl"],
    ["token", "buyer", "--sub", "a"],
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for variable in list(os.environ):
        if variable.startswith("FLASHSALE_") and "BIN" not in variable:
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments: str) -> str:
    """The one line that a command refuses with."""
    assert program.run(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("flashsale: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert "s3cret" not in printed.err
    return printed.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "No such command 'nope'"),
        (["--nope"], "No such option: --nope"),
        (["up", "--nope"], "No such option: --nope. See: flashsale up --help"),
        (["audti"], "Did you mean 'audit'? See: flashsale --help"),
        (["settle", "--name", ""], "--name is empty"),
        (["settle", "--name", "a\nb"], "not printable"),
        (["dead-letters", "dismiss", "1-1", "--because", " "], "--because is empty"),
        (["up", "extra"], "unexpected extra argument"),
        (["up", "--port", "abc"], "Invalid value for '--port'"),
        (["up", "--port", "65536"], "less than or equal to 65535"),
        (["up", "--port"], "requires an argument"),
        (["up", "--web-processes", "0"], "Invalid value for '--web-processes'"),
        (["up", "--host", "no.such.host.invalid"], "choose another --host or --port"),
        (["up", "--port", "0", "--data-dir", "/dev/null"], "/dev/null: "),
        (["demo", "--units", "0"], "Invalid value for '--units'"),
        (["loadtest"], "Missing argument"),
        (["loadtest", "launch-150k", "--minutes", "soon"], "Invalid value for '--minutes'"),
        (["merchant", "create"], "Missing argument"),
        (["merchant", "create", " "], "the name is empty"),
        (["merchant", "create", "a\nb"], "not printable"),
        (["merchant", "nope"], "See: flashsale merchant --help"),
        (["token", "buyer"], "Missing option '--sub'"),
        (["token", "buyer", "--sub", ""], "--sub takes 1 to 128 characters"),
        (["token", "buyer", "--sub", "a", "--ttl-seconds", "0"], "--ttl-seconds"),
        (["audit", "one", "two"], "unexpected extra argument"),
    ],
)
def test_arguments_that_do_not_fit(capsys, arguments, says):
    assert says in refused(capsys, *arguments)


@pytest.mark.parametrize("arguments", [[], ["merchant"], ["token"]])
def test_naming_no_command_shows_what_there_is_and_is_wrong_use(capsys, arguments):
    assert program.run(arguments) == 2
    printed = capsys.readouterr()
    assert "Commands:" in printed.out
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("command", STORE_COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "or give --data-dir"),
        ({**REDIS, **POSTGRES}, "cannot be reached"),
        ({"FLASHSALE_REDIS_URL": "http://h"}, "redis_url: should start with redis://"),
        ({"FLASHSALE_POSTGRES_DSN": "mysql://u:s3cret@h"}, "should start with postgresql://"),
        ({"FLASHSALE_CONFIG": "/no/such.toml"}, "FLASHSALE_CONFIG must name a TOML file"),
        ({"FLASHSALE_WBE__PORT": "1"}, "wbe is not a setting"),
        ({"FLASHSALE_MODE": "production", "FLASHSALE_DURABILITY": "relaxed"}, "durability"),
    ],
    ids=["no servers", "unreachable", "redis", "postgres", "file", "name", "relaxed"],
)
def test_servers_and_settings_that_do_not_work(capsys, monkeypatch, command, variables, says):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert says in refused(capsys, *command)


@pytest.mark.parametrize("command", STORE_COMMANDS, ids=" ".join)
def test_a_data_folder_without_an_engine(capsys, command):
    said = refused(capsys, *command, "--data-dir", "nowhere")
    assert "start `flashsale up --data-dir nowhere` first" in said


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"FLASHSALE_REDIS_URL": "redis://u:s3cret/x@h/0"}, "other characters in a password as %"),
        ({"FLASHSALE_REDIS_URL": f"redis://{NOBODY}?nope=1"}, "FLASHSALE_REDIS_URL cannot be read"),
        (REDIS, "check FLASHSALE_REDIS_URL"),
        (POSTGRES, "check FLASHSALE_POSTGRES_DSN"),
        ({"FLASHSALE_POSTGRES_DSN": "postgresql://u:s3cret/x@h/d"}, "_DSN cannot be read"),
    ],
)
def test_up_says_which_given_server_does_not_work(capsys, monkeypatch, variables, says):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert says in refused(capsys, "up", "--port", "0")


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_only_this_machine_may_call_without_a_warning(host, alone):
    assert processes.is_loopback(host) is alone


def test_a_doctor_without_servers_has_checked_and_found_them_missing(capsys):
    assert program.run(["doctor"]) == 1
    assert "Set FLASHSALE_REDIS_URL" in capsys.readouterr().out


def test_a_bug_is_one_line_that_says_so_and_no_verdict(capsys, monkeypatch):
    def broken() -> None:
        raise KeyError("sale")

    app = typer.Typer()
    app.command()(broken)
    monkeypatch.setattr(program, "build", lambda: app)
    assert "This is a bug: KeyError: 'sale'" in refused(capsys)
    monkeypatch.setenv(program.TRACEBACK_VARIABLE, "1")
    with pytest.raises(KeyError):
        program.run([])


def all_commands():
    root = typer.main.get_command(program.build())
    yield "flashsale", root
    for name, command in root.commands.items():
        yield f"flashsale {name}", command
        for below, inner in getattr(command, "commands", {}).items():
            yield f"flashsale {name} {below}", inner


@pytest.mark.parametrize(("path", "command"), list(all_commands()), ids=lambda each: str(each)[:30])
def test_every_command_explains_itself_with_an_example_that_parses(capsys, path, command):
    assert program.run([*path.split()[1:], "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: {path}" in shown
    example = command.epilog.removeprefix("Example: ")
    assert f"Example: {example}" in shown
    if not hasattr(command, "commands"):
        arguments = example.removeprefix(path).partition(" > ")[0].replace('"My shop"', "Shop")
        command.make_context(path, arguments.split())


def test_options_all_say_what_they_do():
    unexplained = [
        f"{path} {parameter.name}"
        for path, command in all_commands()
        for parameter in command.params
        if not parameter.help
    ]
    assert unexplained == []


def test_the_version_is_the_package_s(capsys):
    assert program.run(["--version"]) == 0
    assert capsys.readouterr().out == f"flashsale {__version__}\n"


def test_the_program_itself_ends_with_these_codes(tmp_path):
    def flashsale(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "flashsale", *arguments]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        return ran.returncode, ran.stdout, ran.stderr

    assert flashsale("--version") == (0, f"flashsale {__version__}\n", "")
    code, printed, said = flashsale("audit", "\udcff", "--data-dir", "nowhere")
    assert (code, printed, said.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_work_after_its_cleaning_up(number):
    seen = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), number)  # a second one must not interrupt this
            await asyncio.sleep(0.05)  # time enough to be interrupted
            seen.append("cleaned up")

    with pytest.raises(common.Stopped) as stopped:
        common.run(work())
    assert stopped.value.signal_number == number
    common.serve(work)  # where to be stopped is how it ends well
    assert seen == ["cleaned up"] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--data-dir", ""],
        ["migrate", "--data-dir", ""],
        ["demo", "--data-dir", ""],
        ["demo", "--units", "5", "--picture", ""],
    ],
    ids=" ".join,
)
def test_a_variable_that_is_not_set_names_no_folder(capsys, tmp_path, arguments):
    """An empty path would be the folder that one happens to be in."""
    assert "empty" in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_is_refused_before_the_demo(capsys, tmp_path):
    (tmp_path / "file").touch()
    said = refused(capsys, "demo", "--units", "5", "--picture", str(tmp_path / "file" / "x.svg"))
    assert str(tmp_path / "file") in said
